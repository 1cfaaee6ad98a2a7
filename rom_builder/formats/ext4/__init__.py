"""ext2, ext3 and ext4 images, read without mounting.

Read: extents and indirect maps, inline data, 64-bit block numbers, every checksum of
``metadata_csum`` and ``uninit_bg``, ``flex_bg``, ``meta_bg``, ``sparse_super2``, ``bigalloc``,
hashed folders, attributes in all three places, ``shared_blocks``. Encrypted names and content are
reported as unread; an unknown incompatible feature refuses the image.

::

    superblock.py  volume.py  inode.py      geometry, groups and inodes
    blocks.py  folder.py  xattr.py          content, names and attributes
    tree.py  complete.py                    all of it as one tree, and whether it is all
    edit.py  editor.py                      changes to files: the plan of bytes that makes them
    owners.py  release.py                   what an edit may free
    groups.py  growth.py                    bitmaps and counts; more blocks for a full image
    record.py  extent_tree.py               inodes, block maps,
    folder_blocks.py  attribute_write.py    names and attributes being written
"""

from rom_builder.formats.ext4.blocks import Run
from rom_builder.formats.ext4.edit import plan_edits
from rom_builder.formats.ext4.inode import Inode
from rom_builder.formats.ext4.superblock import Superblock, detect_ext4
from rom_builder.formats.ext4.tree import Ext4, open_ext4

__all__ = ["Ext4", "Inode", "Run", "Superblock", "detect_ext4", "open_ext4", "plan_edits"]
