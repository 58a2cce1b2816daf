"""Finds plugins, remembers what they register, decides who wins, and calls their factories."""
