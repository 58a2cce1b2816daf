"""QEMU's user-mode emulators out of an image."""
