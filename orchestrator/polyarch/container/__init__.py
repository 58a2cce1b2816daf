"""Containers: snapshots of layers, overlay mounts, namespaces, private emulation, the OCI runtime."""
