"""Rayfan's shared part: core types, channels, EPICS records, supervisor and the command line."""

from ioc.build_tools import keep_out

keep_out()
