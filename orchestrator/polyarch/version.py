"""The version, where every storey can read it."""

__version__ = "0.1.0"
