"""The built-in tag conventions."""
