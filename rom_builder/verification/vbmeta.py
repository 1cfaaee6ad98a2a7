"""Hold the vbmeta images of a payload, and the partitions they describe, to verified boot.

A device starts at the top vbmeta image and follows its chain descriptors. Here every vbmeta image
of the payload is looked at, those that nothing leads to as well: a bootloader may change its mind.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from rom_builder.errors import ImageError
from rom_builder.formats.avb_descriptors import (
    ChainPartitionDescriptor,
    HashDescriptor,
    HashtreeDescriptor,
)
from rom_builder.formats.avb_key import SIZES, Algorithm, parse_rsa_key
from rom_builder.formats.payload import OperationType, Payload
from rom_builder.formats.source import Source
from rom_builder.formats.vbmeta import TOP, Vbmeta, detect_vbmeta, read_footer, read_vbmeta
from rom_builder.keys import key_facts, spki_sha256
from rom_builder.readers.verified_boot import known_as, sha1_of, signature_of
from rom_builder.rules.verified_boot import CRITICAL
from rom_builder.verification.checks import Check, Digest, SignedBy

_FULL = (
    OperationType.REPLACE,
    OperationType.REPLACE_BZ,
    OperationType.REPLACE_XZ,
    OperationType.REPLACE_ZSTD,
    OperationType.ZERO,
    OperationType.DISCARD,
)


@dataclass(slots=True)
class VbmetaChecks:
    """What the vbmeta images of a payload gave.

    Attributes:
        checks: One for each image, and one for what the top image does not lead to.
        descriptors: What the images say of partition contents, by the partition's name.
        chained: Partitions that hold a vbmeta image to which the top image leads.
    """

    checks: list[Check] = field(default_factory=list)
    descriptors: dict[str, list[HashDescriptor | HashtreeDescriptor]] = field(default_factory=dict)
    chained: set[str] = field(default_factory=set)

    def describe(self, vbmeta: Vbmeta) -> set[str]:
        """Collect an image's descriptors, and return the partitions they speak of."""
        found = set()
        for item in vbmeta.descriptors:
            if isinstance(item, HashDescriptor | HashtreeDescriptor):
                found.add(item.partition_name)
                known = self.descriptors.setdefault(item.partition_name, [])
                if item not in known:
                    known.append(item)
        return found


def incremental(payload: Payload, name: str) -> bool:
    """Say whether a partition's operations need the image of the build before."""
    return any(
        (item.type or 0) not in _FULL
        for update in payload.manifest.partitions
        if update.partition_name == name
        for item in update.operations
    )


def verify_vbmetas(payload: Payload, keys: Sequence[bytes] = ()) -> VbmetaChecks:
    """Verify every vbmeta image of a payload: signature, key, flags and chain.

    Partition contents are not read; hold them to ``descriptors`` afterwards.

    Args:
        payload: The payload.
        keys: Key blobs of which the top image must have one; none for any.
    """
    found = VbmetaChecks()
    images = _Images(payload)
    top = images.top()
    if top is None:
        missing = "the package holds no top vbmeta image"
        ok = False if keys else None
        found.checks.append(Check(f"vbmeta image {TOP}", ok, "", missing, kind="signature"))
    reached = _walk(top, images, keys, found) if top else set()
    for name in payload.names:
        if name not in images.met and images.carries(name) is not False:
            _verify_unreached(name, images, found)
    found.checks.append(_coverage(payload, reached, found))
    return found


def _coverage(payload: Payload, reached: set[str], found: VbmetaChecks) -> Check:
    """Return whether the top image leads to every partition that holds code."""
    what = "verified boot covers"
    open_ = [name for name in dict.fromkeys(payload.names) if name not in reached | {TOP}]
    must = {*CRITICAL, *_dynamic(payload)}
    uncovered = [name for name in open_ if name in must]
    if not uncovered:
        detail = f"{len(reached)} partitions: {', '.join(sorted(reached)) or 'none'}"
        others = [name for name in open_ if name not in found.chained]
        return Check(what, True, "", f"{detail}; not {', '.join(others)}" if others else detail)
    detail = f"nothing covers {', '.join(uncovered)}"
    if any(check.ok is None for check in found.checks):
        return Check(what, None, "", f"{detail}, as far as can be told")
    return Check(what, False, "", detail)


def _dynamic(payload: Payload) -> set[str]:
    """Return the partitions inside super: what is mounted from there has to be covered."""
    dynamic = payload.manifest.dynamic_partition_metadata
    groups = dynamic.groups if dynamic else ()
    return {name for group in groups for name in group.partition_names}


class _Images:
    """The vbmeta images of a payload, read where they lie.

    Attributes:
        met: Partitions that were asked for their image.
    """

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self.met: set[str] = set()

    def carries(self, name: str) -> bool | None:
        """Say whether a partition is or carries a vbmeta image; None if it cannot be read."""
        if name not in self._payload.names:
            return False
        try:
            source = self._source(name)
            head = source.read_at(0, min(4, source.size))
            return detect_vbmeta(head) or read_footer(source) is not None
        except ImageError:
            return None

    def read(self, name: str) -> Vbmeta:
        """Return a partition's image.

        Raises:
            ImageError: There is none, or it is damaged.
        """
        self.met.add(name)
        return read_vbmeta(self._source(name))

    def top(self) -> str | None:
        """Return where verification starts: without ``vbmeta``, a ``boot`` that speaks of others."""
        if TOP in self._payload.names:
            return TOP
        if not self.carries("boot"):
            return None
        try:
            descriptors = read_vbmeta(self._source("boot")).descriptors
        except ImageError:
            return None
        named = {getattr(item, "partition_name", "boot") for item in descriptors}
        return "boot" if named - {"boot"} else None

    def has(self, name: str) -> bool:
        """Say whether the payload has a partition."""
        return name in self._payload.names

    def unreadable(self, name: str, error: ImageError) -> Check:
        """Return the check of an image that cannot be read."""
        ok = None if incremental(self._payload, name) else False
        return Check(f"vbmeta image {name}", ok, "", str(error), kind="signature")

    def _source(self, name: str) -> Source:
        return self._payload.partition(name)


def _walk(top: str, images: _Images, keys: Sequence[bytes], found: VbmetaChecks) -> set[str]:
    """Verify the top image and those it chains to; return the partitions that they cover."""
    reached: set[str] = set()
    try:
        vbmeta = images.read(top)
    except ImageError as error:
        found.checks.append(images.unreadable(top, error))
        return reached
    faults = []
    if keys and vbmeta.public_key not in keys:
        wanted = " or ".join(map(sha1_of, keys))
        faults.append(f"its key is not {wanted}")
    found.checks.append(_judged(top, vbmeta, faults))
    reached |= found.describe(vbmeta)
    locations = Counter(
        item.rollback_index_location
        for item in vbmeta.descriptors
        if isinstance(item, ChainPartitionDescriptor)
    )
    for item in vbmeta.descriptors:
        if isinstance(item, ChainPartitionDescriptor):
            name = item.partition_name
            found.chained.add(name)
            if not images.has(name):
                text = f"the package does not hold {name}, to which {top} chains"
                found.checks.append(Check(f"vbmeta image {name}", None, "", text, kind="signature"))
                continue
            try:
                chained = images.read(name)
            except ImageError as error:
                found.checks.append(images.unreadable(name, error))
                continue
            faults = []
            if chained.public_key != item.public_key:
                faults.append(f"{top} demands the key {sha1_of(item.public_key)}")
            if any(isinstance(other, ChainPartitionDescriptor) for other in chained.descriptors):
                faults.append("it chains on, which only the top image may do")
            location = item.rollback_index_location
            if location == vbmeta.rollback_index_location or locations[location] > 1:
                faults.append(f"its rollback index location {location} is that of another image")
            found.checks.append(_judged(name, chained, faults, f", location {location}"))
            reached |= found.describe(chained)
    return reached


def _verify_unreached(name: str, images: _Images, found: VbmetaChecks) -> None:
    """Verify an image that a device does not look at; it need not be signed."""
    try:
        vbmeta = images.read(name)
    except ImageError as error:
        found.checks.append(images.unreadable(name, error))
        return
    found.describe(vbmeta)
    found.checks.append(_judged(name, vbmeta, [], signed=False))


def _judged(
    name: str, vbmeta: Vbmeta, faults: Sequence[str], location: str = "", *, signed: bool = True
) -> Check:
    """Return the check of one image; ``faults`` are those that its chain shows."""
    what = f"vbmeta image {name}"
    signer = f"{vbmeta.algorithm.name}, key {vbmeta.public_key_sha1}" if vbmeta.public_key else ""
    trust, fault = signature_of(vbmeta)
    all_faults = [*_faults(vbmeta, trust, fault, signed=signed), *faults]
    ok: bool | None = True
    detail = f"rollback index {vbmeta.rollback_index}{location}"
    if all_faults:
        ok, detail = False, "; ".join(all_faults)
    elif trust == "unverified":
        ok, detail = None, fault
    elif vbmeta.algorithm is Algorithm.NONE:
        signer, detail = "", "unsigned, and no chain leads to it"
    return Check(what, ok, signer, detail, _signed_by(vbmeta), _digests(name, vbmeta), "signature")


def _signed_by(vbmeta: Vbmeta) -> SignedBy | None:
    """Return the key of an image for programs, None if it is unsigned."""
    if vbmeta.algorithm is Algorithm.NONE or not vbmeta.public_key:
        return None
    known = known_as(vbmeta.public_key)
    own = SignedBy("", vbmeta.algorithm.name, "", vbmeta.public_key_sha1, (known,) if known else ())
    try:
        key = parse_rsa_key(vbmeta.public_key)
    except ImageError:
        return own
    return replace(own, key=key_facts(key, "").key, spki_sha256=spki_sha256(key))


def _digests(name: str, vbmeta: Vbmeta) -> tuple[Digest, ...]:
    hash_name = SIZES[vbmeta.algorithm].hash_name if vbmeta.algorithm is not Algorithm.NONE else ""
    if not hash_name:
        return ()
    computed = hashlib.new(hash_name, vbmeta.signed_data()).hexdigest()
    return (Digest(f"vbmeta image {name}", hash_name, computed, vbmeta.hash.hex()),)


def _faults(vbmeta: Vbmeta, trust: str, fault: str, *, signed: bool) -> Iterator[str]:
    if vbmeta.algorithm is Algorithm.NONE:
        if signed:
            yield "it is not signed (algorithm NONE)"
    elif trust == "invalid":
        yield fault
    if vbmeta.flags:
        yield f"flags {vbmeta.flags} switch protection off"
    if known := known_as(vbmeta.public_key):
        yield f"its key is publicly known: {known}"
    for item in vbmeta.descriptors:
        if isinstance(item, ChainPartitionDescriptor) and (known := known_as(item.public_key)):
            yield f"the key for {item.partition_name} is publicly known: {known}"
