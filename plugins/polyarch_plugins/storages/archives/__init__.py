"""The storages `oci-archive:FILE` and `docker-archive:FILE`: images in one tar archive each.

A further image, or a further platform of one, goes into a file that is there: all of it is written again beside it, and
takes its place in one step. What no name needs any more is left out then. The same images always give the same bytes.

Writers of archives in one folder wait for each other by a flock(2) lock on the folder, which leaves nothing behind.
"""
