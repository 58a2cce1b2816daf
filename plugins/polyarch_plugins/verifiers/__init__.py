"""Rules that images have to keep."""
