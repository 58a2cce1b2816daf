"""A small disk that gets full, read-only or loses power: an ext4 on a loop device, with faults of the kernel's own.

It is shut down (every call then fails with EIO, and what was not synced is lost, as by a power cut) or aborted
(read-only at once).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2  # FS_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH (linux/ext4.h)
SIZE = 48 << 20


class SmallDisk:
    """A disk of `size` bytes, mounted at `place`; its image lies in `folder`. `inodes`: how many files it can hold."""

    def __init__(self, folder: Path, place: Path, size: int = SIZE, inodes: int | None = None) -> None:
        self._folder, self._place, self._size, self._number = folder, place, size, 0
        self._inodes = ["-N", str(inodes)] if inodes else []
        self.empty = 0
        """Bytes that are taken before anything is done with it."""
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not installed")

    @property
    def _image(self) -> Path:
        return self._folder / f"disk-{self._number}.img"

    @property
    def _filler(self) -> Path:
        return self._place / "filler"

    def begin(self, ready: Path | None = None) -> None:
        """A new file system that holds what is in `ready`, all of it on the disk."""
        self._new_image()
        with self._image.open("wb") as image:
            image.truncate(self._size)
        subprocess.run(["mkfs.ext4", "-q", *self._inodes, self._image], check=True)
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir()
        self._mount()
        if ready is not None:
            subprocess.run(["cp", "-a", f"{ready}/.", self._place], check=True)
        (self._place / "lost+found").rmdir()
        subprocess.run(["sync", "-f", self._place], check=True)
        self.empty = self.used

    def _new_image(self) -> None:
        # Whoever made a mount namespace meanwhile still has the old one mounted: a file is never mounted twice.
        self._number += 1

    def _mount(self) -> None:
        done = subprocess.run(["mount", "-o", "loop", self._image, self._place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no loop device can be mounted here: {done.stderr.strip()}")

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self._place], check=True, capture_output=True)
        self._image.unlink()

    def mount_again(self) -> None:
        """What is on the disk, as a start of the machine finds it: the journal is replayed, faults are mended."""
        subprocess.run(["sync", self._image], check=True)
        old = self._image
        self._new_image()
        shutil.copyfile(old, self._image)
        subprocess.run(["umount", "--lazy", self._place], check=True, capture_output=True)
        old.unlink()
        subprocess.run(["e2fsck", "-fy", self._image], capture_output=True)
        self._mount()

    def power_cut(self) -> None:
        """What is not on the disk by now is lost."""
        descriptor = os.open(self._place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,abort", self._place], check=True, capture_output=True)

    def full(self, left: int = 0) -> None:
        """Nothing more fits, or no more than so many bytes."""
        with self._filler.open("wb", buffering=0) as filler:
            for piece in (1 << 20, 1 << 12):
                try:
                    while filler.write(bytes(piece)) == piece:
                        pass
                except OSError:
                    continue
            if left:
                filler.truncate(filler.tell() - left)

    def room(self) -> None:
        """What made it full is gone."""
        self._filler.unlink(missing_ok=True)

    @property
    def used(self) -> int:
        """Bytes that are taken, by whatever."""
        subprocess.run(["sync", "-f", self._place], check=True)
        state = os.statvfs(self._place)
        return (state.f_blocks - state.f_bfree) * state.f_frsize
