"""A fleet of real devices on one machine, for tests and the demo: namespaces, each with a root and an sshd of its own.

Devices of this machine's architecture have its own programs (an overlay over its root, with settings, keys and engines
of their own); foreign ones have Debian's packages and run in polyarch's private emulation. It takes root.
"""

from support.fleet_lab.device import Device, Process
from support.fleet_lab.kinds import KINDS, SAMPLE, WHOLE, Kind
from support.fleet_lab.lab import Lab, NoLab

__all__ = ["KINDS", "SAMPLE", "WHOLE", "Device", "Kind", "Lab", "NoLab", "Process"]
