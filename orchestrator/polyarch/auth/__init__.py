"""Credentials: read from the files that podman and docker keep, and from their helper programs."""
