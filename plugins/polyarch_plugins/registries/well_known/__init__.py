"""Well-known registries of the OCI distribution-spec: what each has of its own, as data."""
