"""Deals frames out to the members of groups and keeps account of each; used by whoever has frames to give."""
