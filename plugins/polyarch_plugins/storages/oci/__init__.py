"""The storage `oci`: an OCI image layout with locks, resumed transfers and garbage collection.

In its folder stand the layout itself (`oci-layout`, `index.json`, `blobs`) and `.polyarch`, which is ours alone:

========================  =============================================================================================
`version`                 the number of the arrangement described here; a higher one is refused
`lock`                    held for the moments in which index.json, a blob's visibility or a lease changes
`partial/ALGORITHM-HEX`   a blob on its way in, locked by the one who writes it; renamed into `blobs` when it is whole
`summaries`               what was read of the images, a line each, see `LayoutSummaries`; of no consequence but time
`leases/…`                one file for each storage in use, locked as long as it is, that lists the blobs it counts on
========================  =============================================================================================

All locks are flock(2) locks, which die with their owner. There is one order: a partial blob's lock first, then `lock`;
a lease is locked once, by its owner, and only tried by others. Nothing waits for the network under `lock`.

A blob is counted on from the moment in which `has_blob` or `write_blob` told of it, to the commit of an image that
needs it, or until the storage is closed. `remove` and `prune` read all leases under `lock`, and leave alone what a
living one lists; so they never wait for a pull, and no pull loses a blob to them.

An image whose name moves to another one stays as an entry of index.json without a name, called
`localhost/unnamed@DIGEST`, until `discard` or `remove`; one that gets a name again has that alone. So only in the
storage below ROOT: in a layout elsewhere nobody would see or prune it.
"""
