"""podman: a storage that it pulls images into from polyarch, and a source that reads what it has.

Its own program does the work, for whichever user runs it; or its service, over a unix socket.
"""
