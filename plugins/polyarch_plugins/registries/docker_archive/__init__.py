"""`docker-archive:FILE`, `docker-archive:FILE:NAME`: what `docker save` and `podman save` write."""
