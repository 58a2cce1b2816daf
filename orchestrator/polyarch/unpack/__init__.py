"""Layers: decompressed, walked and written into directories."""
