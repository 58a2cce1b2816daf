"""What a device is, and what it can execute. Knows nothing of images or networks.

The modules are the interface: `platform`, `architecture`, `compatibility`, `host`, `device`, `elf`, `binfmt`, `qemu`.
"""
