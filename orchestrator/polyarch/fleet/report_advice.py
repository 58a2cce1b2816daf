"""What a reason code means, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from polyarch.fleet.reasons import ReasonCode
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """What happened, and what to do next; a sentence each."""

    meaning: str
    next: str


ADVICE: Mapping[ReasonCode, Advice] = {
    "not-found": Advice(
        "The registry does not have the image.",
        "Look at its name, and at what there is with polyarch tags; what a saved plan names may have been removed.",
    ),
    "no-variant": Advice(
        "The image has no variant that runs on this device.",
        "See what there is with polyarch resolve --device FILE IMAGE; build the variant, choose another image, "
        "or set up emulation on the device.",
    ),
    "no-engine": Advice(
        "No engine that can be used was found on the device.",
        "Install docker, podman or containerd, let the user who connects use it, or set polyarch_engine: oci.",
    ),
    "no-space": Advice(
        "The disk where the engine keeps images is too full.",
        "Free some space there (docker system prune, podman system prune), then pull with --limit @failed.",
    ),
    "disk": Advice(
        "The disk where the engine keeps images is faulty, or read-only.",
        "Look at the kernel's log there (dmesg), then pull with --limit @failed.",
    ),
    "no-forwarding": Advice(
        "The device does not let SSH forward a port.",
        "Allow it (AllowTcpForwarding yes in sshd_config), or pull with --transport stream.",
    ),
    "unauthorized": Advice(
        "A key or a password was refused.",
        "Look at the user and the key of the device in the inventory, and at polyarch login for the registry.",
    ),
    "unreachable": Advice(
        "The connection broke, or the registry could not be reached.",
        "Pull again with --limit @failed: what has arrived is kept.",
    ),
    "offline": Advice(
        "Nothing answered at the address of the device.",
        "Switch it on and pull with --limit @offline; --wait-offline comes back to such devices by itself.",
    ),
    "host-key": Advice(
        "The device shows another host key than the one that is known, or none is known.",
        "Find out why. If the device was set up anew: ssh-keygen -R HOST, then connect once by hand.",
    ),
    "timeout": Advice(
        "It took longer than it may.",
        "Give it more time (--timeout) or fewer neighbours (--forks), and pull with --limit @failed.",
    ),
    "integrity": Advice(
        "What is on the device is not what was planned.",
        "Do not use the image there. Pull again; if it stays so, look at the disk and the engine of the device.",
    ),
    "interrupted": Advice(
        "The rollout was ended while this device was at work.",
        "Go on with --resume: only what did not succeed is repeated.",
    ),
    "stopped": Advice(
        "The stop rule struck, or the rollout ended, before the turn of this device came.",
        "Mend what failed first, then go on with --resume.",
    ),
    "check": Advice(
        "The image is there, but the command that was to succeed after the pull did not.",
        "Read what it said in the line of the device; the image, its configuration or the check is wrong.",
    ),
    "held": Advice(
        "Another rollout is at work on this device.",
        "Wait until that one has ended, then pull with --limit @failed.",
    ),
    "internal": Advice(
        "Something went wrong that should not: the device's own words say more.",
        "Read them in the line of the device, and pull again; if it stays so, report it.",
    ),
}
"""For each reason code."""
