"""Who signed an APK: all schemes, from the JAR signature to v3.1."""

from __future__ import annotations

from rom_builder.formats.apk_signer import ApkSigner
from rom_builder.formats.apk_signing_block import (
    SCHEMES,
    find_signing_block,
    read_block_signers,
)
from rom_builder.formats.jar_signature import read_jar_signers
from rom_builder.formats.source import Source
from rom_builder.formats.zip import ZipArchive

__all__ = ["ApkSigner", "read_signers"]


def read_signers(
    archive: ZipArchive, source: Source, *, verify: bool = False
) -> tuple[ApkSigner, ...]:
    """Return every signer of an APK, v1 first; none for an unsigned one.

    Without ``verify`` the file's content is not looked at, so that a whole ROM is read in a second:
    checked are the v1 signature over the manifest and the structure of the later schemes. What is
    wrong stands in ``ApkSigner.faults``. Android takes the highest scheme it knows.

    Args:
        archive: The APK, opened leniently.
        source: Its bytes.
        verify: Check every signature and every digest.

    Raises:
        ImageError: A signature is so damaged that it cannot be read.
    """
    block = find_signing_block(archive, source)
    present = frozenset(SCHEMES[kind] for kind in SCHEMES if block and kind in block.pairs)
    later = read_block_signers(archive, source, block, verify=verify) if block else ()
    return (*read_jar_signers(archive, verify=verify, present=present), *later)
