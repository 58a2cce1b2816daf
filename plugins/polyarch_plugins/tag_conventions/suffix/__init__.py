"""Tags with the architecture at the end: `1.0-arm64v8`, `v5.0_armhf`, `2.4-armhf-debian`; for `latest` also `armhf`."""
