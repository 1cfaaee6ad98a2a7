"""Who signed an APK: all schemes, from the JAR signature to v3.1, and what a platform makes of them.

A platform looks at the latest scheme that it knows and the app has. To take out a later one and make
it look at an earlier is noticed: v2 signers and JAR signature files say which schemes were there.
What is refused: AOSP apksig, ``ApkVerifier``, which ``apksigner verify`` runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from rom_builder.formats.apk_signer import ApkSigner, Scheme
from rom_builder.formats.apk_signing_block import (
    SCHEMES,
    SigningBlock,
    find_signing_block,
    read_block_signers,
)
from rom_builder.formats.jar_signature import NEWEST, read_jar_signers
from rom_builder.formats.source import Source
from rom_builder.formats.zip import ZipArchive

__all__ = ["NEWEST", "SCHEME_SINCE", "ApkSigner", "ApkVerdict", "read_signers", "verify_apk"]

SCHEME_SINCE: dict[Scheme, int] = {"v1": 1, "v2": 24, "v3": 28, "v3.1": 33}
"""First API level that knows a scheme."""
LATER_SCHEME_SINCE = 30
"""An app that targets this level is refused with a JAR signature alone, by platforms from it on."""


@dataclass(frozen=True, slots=True)
class ApkVerdict:
    """Whether a range of platforms accepts an app's signatures.

    Attributes:
        signers: Of the schemes that one of the platforms looks at, v1 first.
        faults: Why one of them refuses the app; empty if all accept it.
    """

    signers: tuple[ApkSigner, ...]
    faults: tuple[str, ...]

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """Schemes that were looked at, earliest first."""
        return tuple(dict.fromkeys(signer.scheme for signer in self.signers))


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
    later = read_block_signers(archive, source, block, verify=verify) if block else ()
    return (*read_jar_signers(archive, verify=verify, present=_present(block)), *later)


def verify_apk(
    archive: ZipArchive,
    source: Source,
    *,
    min_sdk: int = 1,
    max_sdk: int = NEWEST,
    target_sdk: int = 1,
    preinstalled: bool = False,
) -> ApkVerdict:
    """Return what the platforms of a range of API levels make of an APK's signatures.

    Args:
        archive: The APK, opened leniently.
        source: Its bytes.
        min_sdk: First API level.
        max_sdk: Last one; the same as the first for one platform.
        target_sdk: What the app targets.
        preinstalled: Whether the platform finds it in a system folder: there it does not mind that a v2
            signature which v1 announces is gone (AOSP ``ApkSignatureVerifier``,
            ``unsafeGetCertsWithoutVerification``; before, ``PARSE_IS_SYSTEM_DIR``).

    Raises:
        ImageError: A signature is so damaged that it cannot be read: no platform accepts it.
    """
    block = find_signing_block(archive, source)
    known: list[Scheme] = [scheme for scheme, since in SCHEME_SINCE.items() if since <= max_sdk]
    wanted = [scheme for scheme in known if _looks_at(scheme, _present(block), min_sdk)]
    stripped = [scheme for scheme in SCHEME_SINCE if scheme not in known]
    signers = [
        signer
        for signer in (
            read_block_signers(archive, source, block, verify=True, known=known) if block else ()
        )
        if signer.scheme in wanted and (signer.scheme != "v3.1" or _meets(signer, min_sdk, max_sdk))
    ]
    faults: list[str] = []
    if min_sdk < SCHEME_SINCE["v2"] or not signers:
        jar = read_jar_signers(
            archive,
            verify=True,
            present=(*_present(block), *stripped) if known[1:] and not preinstalled else None,
            min_sdk=min_sdk,
        )
        if signers and not jar:
            faults.append(f"platforms below API {SCHEME_SINCE['v2']} look for a v1 signature")
        signers[:0] = jar
    faults += [fault for signer in signers for fault in signer.faults]
    if any(signer.scheme == "v1" for signer in signers) and source.read_at(0, 2) != b"PK":
        # CVE-2017-13156: the entries are signed, and what stands before them ran as a DEX file.
        faults.append("v1: what stands before the first entry is not signed")
    if not faults:
        faults += _disagreements(signers, min_sdk, max_sdk)
        later = any(signer.scheme != "v1" for signer in signers)
        if not later and max_sdk >= target_sdk >= LATER_SCHEME_SINCE:
            faults.append(
                f"an app that targets API {target_sdk} needs a v2 signature or a later one"
            )
    return ApkVerdict(tuple(signers), tuple(faults))


def _present(block: SigningBlock | None) -> tuple[Scheme, ...]:
    return tuple(scheme for kind, scheme in SCHEMES.items() if block and kind in block.pairs)


def _looks_at(scheme: Scheme, present: tuple[Scheme, ...], min_sdk: int) -> bool:
    """Say whether a platform of the range looks at a later scheme: the first may not know a newer."""
    newer = [s for s in present if SCHEME_SINCE[s] > SCHEME_SINCE[scheme] and s != "v3.1"]
    return not any(SCHEME_SINCE[s] <= min_sdk for s in newer)


def _meets(signer: ApkSigner, min_sdk: int, max_sdk: int) -> bool:
    """Say whether one of the platforms is among those that a signer is for."""
    return (signer.min_sdk or 0) <= max_sdk and (signer.max_sdk or 0) >= min_sdk


def _disagreements(signers: list[ApkSigner], min_sdk: int, max_sdk: int) -> Iterator[str]:
    """Yield how signers that hold each by itself do not hold together."""
    if not signers:
        yield "it is not signed"
    by_scheme: dict[Scheme, list[ApkSigner]] = {}
    for signer in signers:
        by_scheme.setdefault(signer.scheme, []).append(signer)
    v1, v2, v3 = (by_scheme.get(scheme, []) for scheme in ("v1", "v2", "v3"))
    if v1 and v2 and _certificates(v1) != _certificates(v2):
        yield "the v1 and the v2 signature are by different certificates"
    old = v1 or v2
    for signer in v3 if old else []:
        first = (signer.lineage or signer.certificates)[0].der
        if _certificates(old) != {first}:
            yield "the v3 signature is by another certificate than the earlier one, without a lineage"
    if v3:
        yield from _gaps(v3, max(min_sdk, SCHEME_SINCE["v3"]), max_sdk, bool(by_scheme.get("v3.1")))


def _gaps(signers: list[ApkSigner], min_sdk: int, max_sdk: int, rotated: bool) -> Iterator[str]:
    """Yield how v3 signers do not cover every platform once; v3.1 signers take over the newest."""
    levels = sorted((signer.min_sdk or 0, signer.max_sdk or 0) for signer in signers)
    for (_, last), (first, _) in pairwise(levels):
        if first != last + 1:
            yield f"the v3 signers for API {last} and {first} overlap or leave a gap"
    if levels[0][0] > min_sdk or (levels[-1][1] < max_sdk and not rotated):
        yield f"the v3 signers are for API {levels[0][0]} to {levels[-1][1]} only"


def _certificates(signers: list[ApkSigner]) -> set[bytes]:
    return {signer.certificates[0].der for signer in signers}
