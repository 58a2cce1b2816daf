"""Image layouts in object stores, as storages (`--into s3://BUCKET/PREFIX`) and as sources (`s3://BUCKET/PREFIX:NAME`).

Below the prefix lies an OCI image layout as on a disk: `oci-layout`, `index.json`, `blobs/ALGORITHM/HEX`. Blobs are
uploaded once and never changed or removed; index.json is written last, on the condition that it is still the one that
was read, so that of two writers none loses what the other named.
"""
