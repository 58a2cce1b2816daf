"""`oci-archive:FILE`, `oci-archive:FILE:NAME`: an OCI image layout in a tar archive."""
