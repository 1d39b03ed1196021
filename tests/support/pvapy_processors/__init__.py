"""Processors written against PvaPy's interface, as its users write them; nothing of Rayfan is imported here."""
