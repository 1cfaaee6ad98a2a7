"""EROFS, the read-only file system of Android's dynamic partitions (``system``, ``vendor`` ...).

Layout facts come from the Linux kernel's ``fs/erofs/erofs_fs.h``; every integer is little-endian.

::

    superblock.py   byte 1024: geometry, features, codecs, devices
    inode.py        32 or 64 bytes at ``nid * 32`` of the metadata area
    data.py         content that is not compressed: plain, inline tail, chunks
    compressed.py   content that is compressed: from index to extents to bytes
    decompress.py   one compressed cluster: LZ4, MicroLZMA, deflate, zstd
    xattr.py        extended attributes, inline and shared
    directory.py    blocks of directory entries
    tree.py         all of it as one tree
    edit.py         changes to files: the plan of bytes that makes them
    addition.py     inodes that an edit adds
    wipe.py         zeroing what an edit took away
"""

from rom_builder.formats.erofs.edit import plan_edits
from rom_builder.formats.erofs.superblock import Superblock, detect_erofs
from rom_builder.formats.erofs.tree import Erofs, open_erofs

__all__ = ["Erofs", "Superblock", "detect_erofs", "open_erofs", "plan_edits"]
