"""`oci:DIR`, `oci:DIR:NAME`: an OCI image layout in a folder, whoever wrote it."""
