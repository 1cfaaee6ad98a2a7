"""Public keys as Android Verified Boot stores them (``avb_pkmd.bin``), and its signing algorithms.

All integers are big-endian. Source: AOSP ``external/avb/libavb/avb_crypto.h``. An RSA key of N
bits: u32 N, u32 ``-1/n mod 2**32``, modulus ``n`` (N/8 bytes), ``2**(2*N) mod n`` (N/8 bytes); the
exponent is always 65537. An ML-DSA key (Android 17): u32 size, key.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from rom_builder.errors import ImageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

RSA_EXPONENT = 65537


class Algorithm(IntEnum):
    """How a vbmeta image is signed."""

    NONE = 0
    SHA256_RSA2048 = 1
    SHA256_RSA4096 = 2
    SHA256_RSA8192 = 3
    SHA512_RSA2048 = 4
    SHA512_RSA4096 = 5
    SHA512_RSA8192 = 6
    MLDSA65 = 7
    MLDSA87 = 8


class AlgorithmSizes(NamedTuple):
    """Hash name (empty: none is stored) and bytes of hash, signature and public key blob."""

    hash_name: str
    hash_size: int
    signature_size: int
    public_key_size: int


SIZES = {
    Algorithm.NONE: AlgorithmSizes("", 0, 0, 0),
    Algorithm.SHA256_RSA2048: AlgorithmSizes("sha256", 32, 256, 520),
    Algorithm.SHA256_RSA4096: AlgorithmSizes("sha256", 32, 512, 1032),
    Algorithm.SHA256_RSA8192: AlgorithmSizes("sha256", 32, 1024, 2056),
    Algorithm.SHA512_RSA2048: AlgorithmSizes("sha512", 64, 256, 520),
    Algorithm.SHA512_RSA4096: AlgorithmSizes("sha512", 64, 512, 1032),
    Algorithm.SHA512_RSA8192: AlgorithmSizes("sha512", 64, 1024, 2056),
    Algorithm.MLDSA65: AlgorithmSizes("", 0, 3309, 1956),
    Algorithm.MLDSA87: AlgorithmSizes("", 0, 4627, 2596),
}


def encode_public_key(key: RSAPublicKey) -> bytes:
    """Write an RSA public key as AVB stores it.

    Raises:
        ValueError: The key's exponent is not 65537 or its size not 2048, 4096 or 8192 bits.
    """
    numbers, bits = key.public_numbers(), key.key_size
    if numbers.e != RSA_EXPONENT or bits not in (2048, 4096, 8192):
        raise ValueError(f"AVB takes no RSA key of {bits} bits with exponent {numbers.e}")
    return _rsa_blob(numbers.n, bits)


def _rsa_blob(modulus: int, bits: int) -> bytes:
    size = bits // 8
    return b"".join(
        (
            bits.to_bytes(4, "big"),
            (-pow(modulus, -1, 1 << 32) % (1 << 32)).to_bytes(4, "big"),
            modulus.to_bytes(size, "big"),
            pow(2, 2 * bits, modulus).to_bytes(size, "big"),
        )
    )


def parse_rsa_key(blob: bytes) -> RSAPublicKey:
    """Read an RSA public key; its derived numbers are checked too, for devices use them.

    Raises:
        ImageError: The blob is damaged or of another kind.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    bits = int.from_bytes(blob[:4], "big")
    modulus = int.from_bytes(blob[8 : 8 + bits // 8], "big")
    if bits not in (2048, 4096, 8192) or len(blob) != 8 + bits // 4:
        raise ImageError(f"AVB public key of {bits} bits in {len(blob)} bytes")
    if not modulus & 1 or modulus.bit_length() != bits or _rsa_blob(modulus, bits) != blob:
        raise ImageError("the numbers of an AVB public key contradict each other")
    try:
        return RSAPublicNumbers(RSA_EXPONENT, modulus).public_key()
    except ValueError as error:
        raise ImageError(f"unusable AVB public key: {error}") from error


def verify_signature(algorithm: Algorithm, blob: bytes, signature: bytes, message: bytes) -> None:
    """Check one signature over ``message`` with the key in ``blob``.

    Raises:
        ImageError: It does not match, the key is damaged, or the algorithm cannot be verified here.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    sizes = SIZES[algorithm]
    if len(blob) != sizes.public_key_size or len(signature) != sizes.signature_size:
        raise ImageError(
            f"{algorithm.name} takes a key of {sizes.public_key_size} bytes and a signature of "
            f"{sizes.signature_size}, not {len(blob)} and {len(signature)}"
        )
    try:
        if sizes.hash_name:
            _verify_rsa(sizes.hash_name, blob, signature, message)
        else:
            _verify_mldsa(algorithm, blob, signature, message)
    except InvalidSignature:
        raise ImageError(f"the {algorithm.name} signature does not match") from None
    except UnsupportedAlgorithm as error:
        raise ImageError(f"{algorithm.name} cannot be verified here: {error}") from error


def _verify_rsa(hash_name: str, blob: bytes, signature: bytes, message: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256, SHA512

    digest = hashlib.new(hash_name, message).digest()
    hash_algorithm = SHA256() if hash_name == "sha256" else SHA512()
    parse_rsa_key(blob).verify(signature, digest, PKCS1v15(), Prehashed(hash_algorithm))


def _verify_mldsa(algorithm: Algorithm, blob: bytes, signature: bytes, message: bytes) -> None:
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa
    except ImportError as error:
        raise ImageError(f"{algorithm.name} needs a newer cryptography library") from error
    if int.from_bytes(blob[:4], "big") != len(blob) - 4:
        raise ImageError("the size in an AVB public key is wrong")
    kind = mldsa.MLDSA65PublicKey if algorithm is Algorithm.MLDSA65 else mldsa.MLDSA87PublicKey
    kind.from_public_bytes(blob[4:]).verify(signature, message)
