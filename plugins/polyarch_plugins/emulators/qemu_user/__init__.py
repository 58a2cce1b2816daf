"""QEMU's user-mode emulators as the host has them."""
