"""The verbs of images on their way to registries."""
