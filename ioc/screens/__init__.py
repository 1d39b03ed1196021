"""Operators' screens for Phoebus, made from the record tables."""
