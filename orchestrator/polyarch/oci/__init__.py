"""The OCI image model: digests, descriptors, manifests, indexes, configs. Raw bytes stay beside what was read."""
