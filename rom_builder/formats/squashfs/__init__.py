"""SquashFS 4.0 images, read without mounting: gzip, xz, lz4 and zstd; lzo and lzma are refused."""

from rom_builder.formats.squashfs.superblock import Superblock, detect_squashfs
from rom_builder.formats.squashfs.tree import Squashfs, open_squashfs

__all__ = ["Squashfs", "Superblock", "detect_squashfs", "open_squashfs"]
