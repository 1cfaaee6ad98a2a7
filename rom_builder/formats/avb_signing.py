"""Sign vbmeta images with keys that live elsewhere: a signer sees a digest, never a key's owner."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from rom_builder.errors import ImageError, SigningError
from rom_builder.formats.avb_key import SIZES, Algorithm, verify_signature
from rom_builder.formats.vbmeta import MAX_VBMETA_SIZE, Vbmeta, parse_vbmeta

SignDigest = Callable[[bytes, Literal["sha256", "sha512"]], bytes]
"""``sign(digest, algorithm)``: an RSA PKCS#1 v1.5 signature over a digest."""


@dataclass(frozen=True, slots=True)
class AvbKey:
    """A key that vbmeta images are signed with.

    Attributes:
        algorithm: Which signatures it makes; RSA only.
        public_key: Its public half as AVB stores it (:func:`~.avb_key.encode_public_key`).
        sign: Makes the signature; None leaves zeros in its place, for it is made later.
    """

    algorithm: Algorithm
    public_key: bytes
    sign: SignDigest | None = field(repr=False)


def sign_vbmeta(vbmeta: Vbmeta, key: AvbKey) -> Vbmeta:
    """Return a vbmeta image with its hash and a verified signature, everything else as it is.

    Without ``key.sign`` the signature is zeros.

    Raises:
        SigningError: The algorithm is not one that is signed with, the key is not of its size, what
            came back is not the key's signature, or the image names a certificate of another key.
        ImageError: The image becomes larger than libavb reads.
    """
    sizes = SIZES[key.algorithm]
    if not sizes.hash_name or len(key.public_key) != sizes.public_key_size:
        raise SigningError(
            f"no vbmeta image can be signed as {key.algorithm.name} "
            f"with a key blob of {len(key.public_key)} bytes"
        )
    if vbmeta.public_key_metadata and vbmeta.public_key != key.public_key:
        raise SigningError("the vbmeta image holds metadata of another public key")
    blank = replace(
        vbmeta, algorithm=key.algorithm, public_key=key.public_key, hash=b"", signature=b"", raw=b""
    )
    data = blank.signed_data()
    digest = hashlib.new(sizes.hash_name, data).digest()
    if key.sign is None:
        return written(replace(blank, hash=digest, signature=bytes(sizes.signature_size)))
    signature = key.sign(digest, cast('Literal["sha256", "sha512"]', sizes.hash_name))
    try:
        verify_signature(key.algorithm, key.public_key, signature, data)
    except ImageError as error:
        raise SigningError(f"what the signer returned cannot be used: {error.message}") from None
    return written(replace(blank, hash=digest, signature=signature))


def written(vbmeta: Vbmeta) -> Vbmeta:
    """Return a vbmeta image as it reads once written, ``raw`` included.

    Raises:
        ImageError: It is larger than libavb reads.
    """
    data = vbmeta.encode()
    if len(data) > MAX_VBMETA_SIZE:
        raise ImageError(f"vbmeta image of {len(data)} bytes, libavb reads {MAX_VBMETA_SIZE}")
    return parse_vbmeta(data)
