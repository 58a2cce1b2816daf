"""buildah, in user namespaces, with foreign programs emulated."""
