"""EPICS database files, loaded by the IOCs: derived records, access security, the record listing."""
