"""The docker engine of this machine: a storage that images are loaded into, and a source that they are read from.

Both speak the engine's API (docs.docker.com/reference/api/engine) over its unix socket, on paths without a version:
what is asked for here has been the same in all of them.
"""
