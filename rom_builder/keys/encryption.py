"""How well a key file is encrypted: what stands between a thief of the file and the key.

A passphrase is only as good as the work of trying one. Sources: RFC 8018 (PBES1, PBES2, PBKDF2),
RFC 7914 (scrypt), RFC 7292 (PKCS#12), RFC 1421 (``DEK-Info`` of old PEM files).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from rom_builder.errors import ImageError
from rom_builder.formats.der import (
    CONTEXT_0,
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    DerReader,
)

MIN_ROUNDS = 100_000
"""PBKDF2 rounds under which a passphrase is tried too fast; OWASP asks for 600,000 with SHA-256."""
MIN_SCRYPT_COST = 1 << 14
"""The N of scrypt under which it is too fast; OWASP asks for 2**17, OpenSSL takes 2**14."""

_PBES2 = bytes.fromhex("2a864886f70d01050d")
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")
_SCRYPT = bytes.fromhex("2b06010401da47040b")
_PBES1 = bytes.fromhex("2a864886f70d0105")
"""Arc of PBES1's object identifiers: 1, 3, 4, 6, 10, 11 under it."""
_PKCS12_PBE = bytes.fromhex("2a864886f70d010c01")
_SHROUDED_KEY = bytes.fromhex("2a864886f70d010c0a0102")
_KEY = bytes.fromhex("2a864886f70d010c0a0101")
_DATA = bytes.fromhex("2a864886f70d010701")

_PEM_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----(.*?)-----END \1-----", re.DOTALL)


def weaknesses(data: bytes) -> tuple[str, ...]:
    """Return what is weak in how a key file is encrypted; nothing for what cannot be told.

    Args:
        data: The whole file: PEM, PKCS#8 in DER or PKCS#12.
    """
    try:
        return tuple(_weaknesses(data))
    except ImageError:
        return ()


def _weaknesses(data: bytes) -> Iterator[str]:
    match = _PEM_KEY.search(data)
    if match is not None:
        label, body = match[1], match[2]
        if label == b"ENCRYPTED PRIVATE KEY":
            try:
                yield from _of_pkcs8(base64.b64decode(body, validate=False))
            except binascii.Error:
                return
        elif b"Proc-Type" in body and b"ENCRYPTED" in body:
            yield "the key is encrypted in the old PEM way, whose passphrases are tried very fast"
        else:
            yield "the key file is not encrypted"
        return
    fields = DerReader(data).inside(SEQUENCE, "key")
    if fields.peek() == SEQUENCE:
        yield from _of_pkcs8(data)
    elif fields.peek() == INTEGER and fields.integer("version") == 3:
        yield from _of_pkcs12(fields)
    else:
        yield "the key file is not encrypted"


def _of_pkcs8(data: bytes) -> Iterator[str]:
    """Of an EncryptedPrivateKeyInfo: AlgorithmIdentifier, OCTET STRING."""
    fields = DerReader(data).inside(SEQUENCE, "encrypted key")
    yield from _of_algorithm(fields.inside(SEQUENCE, "encryption algorithm"))


def _of_algorithm(algorithm: DerReader) -> Iterator[str]:
    oid = algorithm.content(OID, "encryption algorithm")
    if oid.startswith(_PKCS12_PBE) and len(oid) == len(_PKCS12_PBE) + 1:
        yield "the key is encrypted with a PKCS#12 cipher of 1999 (PBE with SHA-1)"
        return
    if oid != _PBES2:
        if oid.startswith(_PBES1):
            yield "the key is encrypted with PBES1 (MD5 or SHA-1, DES or RC2)"
        return
    parameters = algorithm.inside(SEQUENCE, "PBES2 parameters")
    kdf = parameters.inside(SEQUENCE, "key derivation")
    name = kdf.content(OID, "key derivation")
    values = kdf.inside(SEQUENCE, "key derivation parameters")
    if name == _PBKDF2:
        values.content(OCTET_STRING, "salt")
        rounds = values.integer("rounds")
        if rounds < MIN_ROUNDS:
            yield f"the key is encrypted with {rounds} rounds of PBKDF2, fewer than {MIN_ROUNDS}"
    elif name == _SCRYPT:
        values.content(OCTET_STRING, "salt")
        cost = values.integer("cost")
        if cost < MIN_SCRYPT_COST:
            yield f"the key is encrypted with scrypt at cost {cost}, lower than {MIN_SCRYPT_COST}"


def _of_pkcs12(fields: DerReader) -> Iterator[str]:
    """Of a PFX after its version: the bags that hold a key, and the MAC over all of it."""
    safe = _octets(fields.inside(SEQUENCE, "authSafe"))
    contents = DerReader(safe).inside(SEQUENCE, "AuthenticatedSafe")
    while contents.peek() == SEQUENCE:
        item = contents.inside(SEQUENCE, "ContentInfo")
        try:
            bags = DerReader(_octets(item)).inside(SEQUENCE, "SafeContents")
        except ImageError:  # encrypted: certificates, as everyone writes them
            continue
        while bags.peek() == SEQUENCE:
            bag = bags.inside(SEQUENCE, "SafeBag")
            oid = bag.content(OID, "bag")
            value = bag.inside(CONTEXT_0, "bag")
            if oid == _SHROUDED_KEY:
                shrouded = value.inside(SEQUENCE, "encrypted key")
                yield from _of_algorithm(shrouded.inside(SEQUENCE, "encryption algorithm"))
            elif oid == _KEY:
                yield "the key file is not encrypted"
    if fields.peek() == SEQUENCE:
        mac = fields.inside(SEQUENCE, "MacData")
        mac.inside(SEQUENCE, "DigestInfo")
        mac.content(OCTET_STRING, "MAC salt")
        rounds = mac.integer("MAC rounds") if mac.peek() == INTEGER else 1
        if rounds < MIN_ROUNDS:
            yield f"a passphrase can be tried on its MAC with {rounds} rounds, fewer than {MIN_ROUNDS}"


def _octets(content: DerReader) -> bytes:
    """Return what a ContentInfo of plain data holds."""
    if content.content(OID, "content type") != _DATA:
        raise ImageError("not plain data")
    return content.inside(CONTEXT_0, "content").content(OCTET_STRING, "content")
