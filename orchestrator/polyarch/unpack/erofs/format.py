"""The on-disk format of EROFS, as far as layers use it.

Source: Linux, fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst; the rules of use from fs/erofs/super.c
(`erofs_init_device`), data.c (`erofs_map_dev`: a block address within a device slot's unified range is one of that
device), inode.c, dir.c and xattr.c.

What is always so here: blocks of 512 bytes, those of a tar archive (a kernel that has them: 6.4), no metadata area of
its own (a node number times 32 is an offset in the file), 64-byte inodes, one further device: the archive.
"""

from __future__ import annotations

import stat
import struct

ARCHIVE_NAME = "layer.tar"
METADATA_NAME = "layer.erofs"
SUM_NAME = "layer.sum"

BLOCK_BITS = 9
BLOCK = 1 << BLOCK_BITS

SUPER_OFFSET = 1024
SUPER_SIZE = 128
MAGIC = 0xE0F5E1E2
COMPAT_MTIME = 0x2
INCOMPAT_CHUNKED_FILE = 0x4
INCOMPAT_DEVICE_TABLE = 0x8

# struct erofs_super_block: magic checksum feature_compat | blkszbits sb_extslots root_nid inos | build_time
# build_time_nsec blocks | meta_blkaddr xattr_blkaddr | uuid volume_name | feature_incompat u1 extra_devices
# devt_slotoff | dirblkbits xattr_prefix_count xattr_prefix_start packed_nid xattr_filter_reserved reserved2
SUPER = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQB23x")

DEVICE_OFFSET = SUPER_OFFSET + SUPER_SIZE
DEVICE_SLOT = 128
# struct erofs_deviceslot: tag blocks mapped_blkaddr
DEVICE = struct.Struct("<64sII56x")

ARCHIVE = 1 << 31
"""The block address that the archive's first byte has: those below are of the metadata file itself."""

FIRST_INODE = DEVICE_OFFSET + DEVICE_SLOT
SLOT_BITS = 5  # node numbers count slots of 32 bytes
INODE_SIZE = 64
# struct erofs_inode_extended: i_format i_xattr_icount i_mode reserved i_size | i_u | i_ino i_uid i_gid i_mtime
# i_mtime_nsec i_nlink
INODE = struct.Struct("<HHHxxQIIIIqII16x")
EXTENDED = 1

FLAT_PLAIN = 0
FLAT_INLINE = 2
CHUNK_BASED = 4

NO_BLOCK = 0xFFFFFFFF  # EROFS_NULL_ADDR: a hole
MAX_CHUNK_BITS = 31  # EROFS_CHUNK_FORMAT_BLKBITS_MASK

# struct erofs_dirent: nid nameoff file_type reserved
DIRENT = struct.Struct("<QHBx")
FILE_TYPES = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFLNK: 7,
}
MAX_NAME = 255

# struct erofs_xattr_ibody_header: h_name_filter h_shared_count; struct erofs_xattr_entry: e_name_len e_name_index
# e_value_size
XATTR_HEADER = 12
XATTR = struct.Struct("<BBH")
XATTR_PREFIXES = {
    "user.": 1,
    "system.posix_acl_access": 2,
    "system.posix_acl_default": 3,
    "trusted.": 4,
    "security.": 6,
}
MAX_XATTR = 0xFFFF  # bytes of a value
MAX_XATTRS = 4 * 0xFFFF  # bytes of all of a file


def encoded_device(major: int, minor: int) -> int:
    """A device number as inodes hold it (Linux, kdev_t.h: new_encode_dev)."""
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12


OPAQUE = "trusted.overlay.opaque"  # Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"
