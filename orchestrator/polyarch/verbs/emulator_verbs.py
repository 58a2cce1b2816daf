"""The emulators of the whole machine: how each architecture stands, and what is registered with the kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from polyarch.contract.others import EmulatorSource
from polyarch.errors import platforms_errors
from polyarch.verbs.emulators import emulated, installable, private_emulation
from polyarch_platforms import emulators, installer
from polyarch_platforms.device import Device
from polyarch_platforms.emulators import EmulatorStatus, EmulatorTest, Private
from polyarch_platforms.installer import Installed, Removed


class EmulatorVerbs:
    """`session.emulators`. `words` are names of architectures; without any, all that the method can do something for.

    Every method raises UsageError for an unknown architecture.
    """

    def __init__(self, device: Callable[[], Device], sources: Callable[[], Sequence[EmulatorSource]]) -> None:
        self._device, self._sources = device, sources

    def status(self, words: Sequence[str] = ()) -> tuple[EmulatorStatus, ...]:
        """How each architecture stands here, proven by running a program of it."""
        with platforms_errors():
            return emulators.status(emulators.named(words), private=self._private())

    def test(self, words: Sequence[str] = ()) -> tuple[EmulatorTest, ...]:
        """Whether programs of the architectures that there is an emulator for behave as they should.

        Raises HostError where nothing is named and there is none.
        """
        with platforms_errors():
            private = self._private()
            return emulators.tried(emulators.named(words or emulated(private)), private=private)

    def install(
        self,
        words: Sequence[str] = (),
        *,
        script: Path | None = None,
        persistent: bool | None = None,
        fix_binary: bool | None = None,
        credential: bool = False,
        preserve_argv0: bool | None = None,
        qemu_path: Path | None = None,
        qemu_suffix: str = "",
        force: bool = False,
    ) -> tuple[Installed, ...]:
        """Register emulators for the whole machine; without words, for all foreign architectures that have one."""
        with platforms_errors():
            return installer.install(
                emulators.named(words or installable(self._device(), self._sources())),
                script=script,
                persistent=persistent,
                fix_binary=fix_binary,
                credential=credential,
                preserve_argv0=preserve_argv0,
                qemu_path=qemu_path,
                qemu_suffix=qemu_suffix,
                force=force,
            )

    def remove(self, words: Sequence[str] = ()) -> tuple[Removed, ...]:
        """Take away what `install` registered, and nothing else."""
        with platforms_errors():
            removed = installer.remove(emulators.named(words))
        return tuple(each for each in removed if words or each.status != "absent")

    def _private(self) -> Private:
        return private_emulation(self._device(), self._sources())
