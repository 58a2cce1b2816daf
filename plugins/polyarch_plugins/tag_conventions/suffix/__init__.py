"""Tags with the architecture at the end: `1.0-arm64v8`, `v5.0_armhf`, `latest-aarch64`; for `latest` also `armhf`."""
