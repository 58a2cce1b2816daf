"""Shipped for plugin authors: sample images to try a plugin on."""
