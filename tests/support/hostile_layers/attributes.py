"""Owners, modes, times, devices and extended attributes."""

from __future__ import annotations

from support.hostile_layers.case import Cases
from support.layers import Item, file, folder, symlink

_cases = Cases()
CASES = _cases.all
_refused, _opened = _cases.refused, _cases.opened

_CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
_MODE = ("mode", "owner")


def _xattrs(**values: bytes) -> dict[str, bytes]:
    return {f"SCHILY.xattr.{name.replace('__', '.')}": value for name, value in values.items()}


_F = {"f": "b'x'"}

# No tree may have any but user.* (not of overlays), security.capability and the POSIX ACLs: the test looks at all.
_opened(
    "xattr-selinux",
    "has `security.selinux`",
    _F,
    [file("f", "x", pax=_xattrs(security__selinux=b"system_u:object_r:shadow_t:s0"))],
)
_opened(
    "xattr-ima",
    "has `security.ima` and `security.evm`",
    _F,
    [file("f", "x", pax=_xattrs(security__ima=b"\x04", security__evm=b"\x05"))],
)
_opened(
    "xattr-trusted-overlay",
    "has `trusted.overlay.*`: opaque, a redirect, a metacopy",
    {"d": "dir", "d/a": "b''", "f": "b'x'"},
    [folder("d"), file("d/a")],
    [
        folder("d", pax=_xattrs(trusted__overlay__opaque=b"y", trusted__overlay__redirect=b"/etc")),
        file("f", "x", pax=_xattrs(trusted__overlay__metacopy=b"", trusted__overlay__redirect=b"/d/a")),
    ],
)
_opened(
    "xattr-user-overlay",
    "has `user.overlay.*`, `user.fuseoverlayfs.*`, `user.containers.*`",
    {"d": "dir", "d/a": "b''"},
    [folder("d"), file("d/a")],
    [
        folder(
            "d",
            pax=_xattrs(
                user__overlay__opaque=b"y",
                user__overlay__whiteout=b"",
                user__fuseoverlayfs__opaque=b"y",
                user__containers__override_stat=b"0:0:4755",
            ),
        )
    ],
)
_opened(
    "xattr-user",
    "has `user.note` on a file and a directory",
    {"d": "dir", **_F},
    [folder("d", pax=_xattrs(user__note=b"n")), file("f", "x", pax=_xattrs(user__note=b"n"))],
)
_opened(
    "xattr-symlink", "has `user.note` on a symlink", {"l": "-> f"}, [symlink("l", "f", pax=_xattrs(user__note=b"n"))]
)
_opened(
    "xattr-system",
    "has `system.posix_acl_access` that is none",
    _F,
    [file("f", "x", pax=_xattrs(system__posix_acl_access=b"junk"))],
)
_opened(
    "xattr-unknown",
    "has attributes of no known kind",
    _F,
    [file("f", "x", pax=_xattrs(foo=b"1", trusted__other=b"2", os2__x=b"3"))],
)
_opened(
    "xattr-nameless",
    "has attributes `` and `user.`",
    _F,
    [file("f", "x", pax={"SCHILY.xattr.": b"1", "SCHILY.xattr.user.": b"2"})],
)
_opened(
    "xattr-long-name",
    "has an attribute with a name of 300 bytes",
    _F,
    [file("f", "x", pax={"SCHILY.xattr.user." + "n" * 300: b"1"})],
)
_opened(
    "xattr-bytes",
    "has an attribute whose name is not UTF-8",
    None,
    [file("f", "x", pax={"SCHILY.xattr.user.caf\xe9": b"1"})],
)
_opened(
    "xattr-other-form",
    "has `LIBARCHIVE.xattr.*` and `SCHILY.acl.*`",
    _F,
    [file("f", "x", pax={"LIBARCHIVE.xattr.user.x": b"MQ==", "SCHILY.acl.access": b"user::rwx"})],
)
_opened(
    "xattr-refused-huge",
    "has `security.selinux` of 70,000 bytes",
    _F,
    [file("f", "x", pax=_xattrs(security__selinux=b"x" * 70_000))],
)
_refused(
    "xattr-huge",
    "has an attribute of 70,000 bytes",
    "extended attribute of more than 65536",
    [file("f", "x", pax=_xattrs(user__big=b"x" * 70_000))],
)
_opened(
    "capability",
    "has a file capability",
    _F,
    [file("f", "x", mode=0o755, pax=_xattrs(security__capability=_CAPABILITY))],
)
_opened(
    "capability-broken",
    "has a file capability that is none",
    _F,
    [file("f", "x", pax=_xattrs(security__capability=b"\xff" * 20))],
)
_opened(
    "capability-directory",
    "has a file capability on a directory",
    {"d": "dir"},
    [folder("d", pax=_xattrs(security__capability=_CAPABILITY))],
)

_opened(
    "setuid",
    "has a setuid file that all may write",
    {"su": "b'x' 6777 0:0"},
    [file("su", "x", mode=0o6777)],
    facts=_MODE,
)
_opened(
    "sticky",
    "has a setgid and sticky directory",
    {"t": "dir 3777 1:2"},
    [folder("t", mode=0o3777, uid=1, gid=2)],
    facts=_MODE,
)
_opened(
    "mode-bits",
    "has more bits in a mode than there are",
    {"f": "b'x' 7755 0:0"},
    [file("f", "x", raw={100: b"0177755\0"[:8]}, mode=0o755)],
    facts=_MODE,
)
_opened(
    "mode-none",
    "has a file and a directory that nobody may read",
    {"d": "dir 0000 0:0", "d/f": "b'x' 0000 0:0"},
    [folder("d", mode=0), file("d/f", "x", mode=0)],
    facts=_MODE,
)
_opened(
    "owner-large",
    "has the owner 2,147,483,648",
    {"f": "b'x' 0644 2147483648:2147483648"},
    [file("f", "x", pax={"uid": b"2147483648", "gid": b"2147483648"})],
    facts=_MODE,
)
_opened(
    "owner-base-256",
    "has owners as base-256 numbers",
    {"f": "b'x' 0644 4194304:5"},
    [file("f", "x", raw={108: b"\x80\0\0\0\0\x40\0\0", 116: b"\x80\0\0\0\0\0\0\x05"})],
    facts=_MODE,
)
_refused(
    "owner-minus-one",
    "has the owner 4,294,967,295, which is no change to chown",
    "out of bounds",
    [file("f", pax={"uid": b"4294967295"})],
)
_refused("owner-huge", "has an owner of 2^40", "out of bounds", [file("f", pax={"gid": b"%d" % (1 << 40)})])
_refused("owner-negative", "has the owner -1 in a pax header", "is no number", [file("f", pax={"uid": b"-1"})])
_refused(
    "owner-negative-base-256",
    "has the owner -1 as a base-256 number",
    "out of bounds",
    [file("f", raw={108: b"\xff" * 8})],
)
_refused("owner-words", "has a word for an owner", "is no number", [file("f", raw={108: b"rootroot"})])
_opened("time-negative", "is of 1960", {"f": "b'x'"}, [file("f", "x", pax={"mtime": b"-315619200.5"})])
_opened(
    "time-fraction",
    "has times with 40 digits behind the point",
    {"f": "b'x'"},
    [file("f", "x", pax={"mtime": b"1." + b"9" * 40})],
)
_refused("time-huge", "is of the year 36,812", "its time", [file("f", pax={"mtime": b"%d" % (1 << 40)})])
_refused("time-nan", "has the time `nan`", "time is no number", [file("f", pax={"mtime": b"nan"})])

_opened(
    "device-memory",
    "has `/dev/mem` for everybody",
    {"mem": "char 1:1 0666 0:0"},
    [Item("mem", kind=b"3", device=(1, 1), mode=0o666)],
    facts=_MODE,
)
_opened(
    "device-disk",
    "has a disk for everybody",
    {"sda": "block 8:0 0666 0:0"},
    [Item("sda", kind=b"4", device=(8, 0), mode=0o666)],
    facts=_MODE,
)
_opened("device-block-none", "has a block device 0/0", {"b": "block 0:0"}, [Item("b", kind=b"4")])
_opened("device-fifo", "has a FIFO", {"p": "fifo 0622 0:0"}, [Item("p", kind=b"6", mode=0o622)], facts=_MODE)
_refused(
    "device-number",
    "has a device 8192/0, which no kernel has",
    "out of bounds",
    [Item("b", kind=b"3", raw={329: b"0020000\0"})],
)
_refused("device-negative", "has a device -1/0", "out of bounds", [Item("b", kind=b"3", raw={329: b"\xff" * 8})])
_opened(
    "device-number-of-file", "has a device number of no sense on a file", _F, [file("f", "x", raw={329: b"junkjunk"})]
)
_opened(
    "attributes-gone",
    "names a directory again, without its attribute",
    {"d": "dir 0700 0:0"},
    [folder("d", pax=_xattrs(user__old=b"1"), uid=7)],
    [folder("d", mode=0o700)],
    facts=_MODE,
)
