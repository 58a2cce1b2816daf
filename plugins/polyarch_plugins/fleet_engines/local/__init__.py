"""This machine as a fleet of one."""
