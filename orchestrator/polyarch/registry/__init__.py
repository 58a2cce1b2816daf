"""The client of the OCI distribution-spec: transport, retries, logins, and a registry's documents, blobs and tags."""
