"""Names as the user's settings describe them: `templates = ["{name}:{tag}-{debian_arch}"]` in `[options.template]`."""
