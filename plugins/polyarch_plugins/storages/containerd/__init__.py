"""containerd: a storage that pulls images from polyarch, by containerd's own command `ctr`, or k3s's."""
