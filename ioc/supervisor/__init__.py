"""Starts, watches, restarts and drains the processes of one appliance; never touches a frame."""
