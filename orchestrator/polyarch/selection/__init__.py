"""Candidates and a device give one choice, and for every other candidate the reason why not. Pure."""
