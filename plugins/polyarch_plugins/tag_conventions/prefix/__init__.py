"""Tags with the architecture in front: `arm64-1.0`, `arm64v8-latest`, `linux-arm-2.0`, `armhf_1.0`."""
