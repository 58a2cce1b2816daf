"""The extended attributes that a file has once the kernel was asked to set those of a layer, told without asking it."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from polyarch.unpack.attributes import ACCESS_ACL, DEFAULT_ACL, takes_attribute
from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.content import Unfit

_CAPABILITY = "security.capability"

# Linux, include/uapi/linux/capability.h: struct vfs_cap_data, vfs_ns_cap_data
_CAPABILITY_SIZES = {0x02000000: 20, 0x03000000: 24}
_CAPABILITY_REVISION = 0xFF000000

# Linux, include/uapi/linux/posix_acl_xattr.h, posix_acl.h
_ACL_VERSION = 2
_ACL = struct.Struct("<HHI")  # tag perm id
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_TAGS = {_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER}
_NO_ID = 0xFFFFFFFF


def kept_attributes(attributes: Mapping[str, bytes], mode: int, *, directory: bool) -> dict[str, bytes]:
    """What is left of a layer's attributes (`takes_attribute`) after setxattr(2), whose EINVAL and ERANGE pass.

    `mode` is the file's. Raises Unfit for what changes more than the attribute, or has no place in EROFS.
    """
    kept: dict[str, bytes] = {}
    for name, value in attributes.items():
        if takes_attribute(name) and _is_sound(name, value, mode, directory):
            kept[name] = value
    return kept


def _is_sound(name: str, value: bytes, mode: int, directory: bool) -> bool:
    if name == DEFAULT_ACL and not directory:
        raise Unfit("a default access list of what is no directory")
    if name in (ACCESS_ACL, DEFAULT_ACL):
        _check_acl(value, None if name == DEFAULT_ACL else mode)
        return True
    length = len(os.fsencode(name))
    if length > form.MAX_NAME or name == "user.":
        return False
    if len(value) > form.MAX_XATTR:
        raise Unfit(f"{len(value)} bytes of an extended attribute")
    if name != _CAPABILITY:
        return True
    if not value:
        raise Unfit("a capability without bytes")
    revision = int.from_bytes(value[:4], "little") & _CAPABILITY_REVISION
    return len(value) == _CAPABILITY_SIZES.get(revision, -1)  # Linux, security/commoncap.c: validheader


def _check_acl(value: bytes, mode: int | None) -> None:
    """Raises Unfit but for an access list that the kernel takes as it is (Linux, fs/posix_acl.c: posix_acl_valid), and
    which says the same as `mode`: others change the mode, or the mode them.
    """
    entries = list(_ACL.iter_unpack(value[4:])) if len(value) % _ACL.size == 4 else []
    tags = [tag for tag, _, _ in entries]
    order = [(tag, number) for tag, _, number in entries]
    named = _USER in tags or _GROUP in tags
    permissions = {tag: permission for tag, permission, _ in entries}
    if (
        value[:4] != _ACL_VERSION.to_bytes(4, "little")
        or any(tags.count(tag) != 1 for tag in (_USER_OBJ, _GROUP_OBJ, _OTHER))
        or tags.count(_MASK) > 1
        or not {*tags} <= _TAGS
        or (named and _MASK not in tags)
        or order != sorted({*order})
        or any(permission > 7 for _, permission, _ in entries)
        or any((number == _NO_ID) == (tag in (_USER, _GROUP)) for tag, _, number in entries)
    ):
        raise Unfit("an access list of another form")
    if mode is not None:
        said = permissions[_USER_OBJ] << 6 | permissions.get(_MASK, 0) << 3 | permissions[_OTHER]
        if not named or said != mode & 0o777:
            raise Unfit("an access list that changes a mode")
