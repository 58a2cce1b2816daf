"""The signature policy of podman, skopeo and buildah: policy.json."""
