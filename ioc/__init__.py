"""Rayfan's shared part: core types, channels, EPICS records, supervisor and the command line."""
