"""Runs processors written for PvaPy's streaming framework, unchanged, in a process of their own."""
