"""Finds QEMU in an image's root file system."""

from __future__ import annotations

from pathlib import Path

from polyarch.contract import ImageFiles, QemuBinary, architecture_named, find_qemu

_FOLDERS = ("usr/bin", "usr/local/bin", "bin")


class ImageQemu:
    """An EmulatorSource that FetchesEmulators: static QEMU programs of an image for this machine.

    Known layouts: tonistiigi/binfmt and Debian's qemu-user-static, in /usr/bin (`qemu-aarch64`, `qemu-aarch64-static`).
    """

    def __init__(self, image: str, files: ImageFiles) -> None:
        self._image = image
        self._files = files

    def find(self, architecture: str) -> QemuBinary | None:
        """The emulator for programs of `architecture` in the image, if that is at hand."""
        return self._in_image(architecture, fetch=False)

    def offers(self, architecture: str) -> str:
        """The image, for every architecture that QEMU knows, unless it is at hand and lacks this one."""
        if not self._image or architecture_named(architecture) is None:
            return ""
        return f"QEMU of {self._image}" if self._files(self._image, fetch=False) is None else ""

    def fetch(self, architecture: str) -> QemuBinary | None:
        """The emulator for programs of `architecture` in the image, which is pulled if it is missing."""
        return self._in_image(architecture, fetch=True)

    def _in_image(self, architecture: str, *, fetch: bool) -> QemuBinary | None:
        known = architecture_named(architecture)
        if not self._image or known is None:
            return None
        root = self._files(self._image, fetch=fetch)
        if root is None:
            return None
        found = find_qemu(known, [root / folder for folder in _FOLDERS if _inside(root / folder, root)])
        # What a link in the image names outside of it is this machine's, not the image's.
        return found if found is not None and found.static and _inside(found.path, root) else None


def _inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())
