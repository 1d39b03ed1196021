"""Pure parts: no sockets, files, processes or EPICS; time is passed in."""
