"""Padded digests as avbtool hands them to a signing helper, and back.

====== =========== ==================================================================
offset size        field (RFC 8017, 9.2: EMSA-PKCS1-v1_5)
====== =========== ==================================================================
0      2           ``00 01``
2      n           ``FF``, at least 8
2 + n  1           ``00``
       19          DigestInfo of SHA-256 or SHA-512, with the length of the digest
       32 or 64    digest; the whole has as many bytes as the modulus
====== =========== ==================================================================
"""

from __future__ import annotations

import re

from rom_builder.errors import SigningError
from rom_builder.signers.signer import DIGEST_INFO, SigningDigest

ALGORITHM = re.compile("(SHA256|SHA512)_RSA(2048|4096|8192)")
"""Names of AVB's algorithms in avbtool and libavb."""


def algorithm_name(algorithm: SigningDigest, bits: int) -> str:
    """Return AVB's name of an algorithm.

    >>> algorithm_name("sha256", 4096)
    'SHA256_RSA4096'
    """
    return f"{algorithm.upper()}_RSA{bits}"


def parse_algorithm(name: str) -> tuple[SigningDigest, int]:
    """Return digest and bits of the key of one of AVB's algorithms.

    Raises:
        SigningError: There is none of that name.
    """
    match = ALGORITHM.fullmatch(name)
    if match is None:
        raise SigningError(
            f"{name[:40]}: no algorithm that Android Verified Boot signs with",
            hint="SHA256_RSA4096 is one",
        )
    return ("sha256" if match[1] == "SHA256" else "sha512"), int(match[2])


def padded(digest: bytes, algorithm: SigningDigest, size: int) -> bytes:
    """Return a digest, padded to the bytes of an RSA modulus.

    >>> padded(bytes(32), "sha256", 256)[:4].hex(), len(padded(bytes(32), "sha256", 256))
    ('0001ffff', 256)
    """
    info = DIGEST_INFO[algorithm] + digest
    return b"\0\1" + b"\xff" * (size - 3 - len(info)) + b"\0" + info


def digest_in(block: bytes, algorithm: SigningDigest, size: int) -> bytes:
    """Return the digest in a padded block, every other byte of which must be as it should be.

    Raises:
        SigningError: It is not: whoever sent it wants something else signed.
    """
    digest = block[-(32 if algorithm == "sha256" else 64) :]
    if block != padded(digest, algorithm, size):
        raise SigningError(
            f"the {len(block)} bytes to sign are no {algorithm} digest, padded for RSA-{8 * size}",
            hint="avbtool gives such a block for the algorithm that it names",
        )
    return digest
