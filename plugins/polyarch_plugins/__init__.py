"""The built-in plugins: a folder each. They are found by entry point, like anybody's."""
