"""The story of signatures made where the package was not: show, compare, sign or attach, verify, name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from rom_builder.build import Step, before_signing, named, refuse_unless_compliant
from rom_builder.check import check_rom
from rom_builder.errors import BuildRefused, SigningError
from rom_builder.files import write_whole
from rom_builder.findings import Report
from rom_builder.formats.source import FileSource
from rom_builder.keys import refuse_public_key, spki_sha256
from rom_builder.plan import Plan
from rom_builder.policy.load import Policies
from rom_builder.provenance.attestations import Artifact, Origin
from rom_builder.provenance.proof import Proof, write_proof
from rom_builder.resign import refuse_unverified
from rom_builder.rom import Rom, digest_of
from rom_builder.rom.opening import open_rom
from rom_builder.signers.absent import absent
from rom_builder.signers.apk import app_digests
from rom_builder.signers.keyring import Keyring, PartitionSigners
from rom_builder.signers.package import refuse_unfit
from rom_builder.signers.signer import CheckedSigner, verifies
from rom_builder.signing_requests.asking import Asking, holder, request_for, write_request
from rom_builder.signing_requests.pending import Pending, complete, pending_round
from rom_builder.signing_requests.request import SigningRequest, public_half

SIGNATURE_SUFFIX = ".sig"
LARGEST = 4096
"""Bytes of a signature file; a signature of RSA-8192 has 1024."""


@dataclass(frozen=True, slots=True)
class Given:
    """A signature made elsewhere, and the file it came from."""

    path: Path
    signature: bytes


def open_requested(request: SigningRequest, package: Path) -> tuple[Rom, tuple[Pending, ...]]:
    """Open the package of a request, and work out anew what has to be signed.

    Raises:
        SigningError: It is another package, or the request asks for other signatures than it needs.
        ImageError: The package is damaged.
    """
    if request.package is None:
        raise SigningError(
            "the request is for apps, before there is a package",
            hint="give their signatures to rom-builder build --unsigned --signatures",
        )
    with closing(FileSource(package)) as source:
        sha256 = digest_of(source)
    if sha256 != request.package.sha256:
        raise SigningError(
            f"{package}: its SHA-256 is {sha256}, the request is for {request.package.sha256}",
            hint="package or request was changed after it was written, or belongs to another",
        )
    rom = open_rom(package)
    found = pending_round(rom)
    asked = {(item.id, item.algorithm, item.digest) for item in request.digests}
    needed = {(item.id, item.algorithm, item.digest.hex()) for item in found}
    if asked != needed or {item.round for item in found} != {request.round}:
        odd = sorted(item[0] for item in asked ^ needed) or [request.round]
        raise SigningError(
            f"the request does not ask for what {package} needs: {odd[0]} differs",
            hint="the request was changed after it was written: sign nothing of it",
        )
    return rom, found


def refuse_other_keys(
    request: SigningRequest, found: Iterable[Pending], keys: Keyring, roles: Sequence[str] = ()
) -> None:
    """Refuse to sign with a key that the request does not name.

    Raises:
        SigningError: A role's key is missing or another.
    """
    by_id = {item.id: item.role for item in request.digests}
    pairs = [(by_id[item.id], *holder(item, keys)) for item in found]
    pairs += [(role, role, getattr(keys, role)) for role in roles if role in request.keys]
    for asked, role, key in pairs:
        wanted, has = request.keys[asked].spki_sha256, spki_sha256(key.public_key)
        if wanted != has:
            raise SigningError(
                f"the request wants the key {wanted[:16]}… as {asked}; the role {role} has {has[:16]}…"
            )


def sign_request(
    request: SigningRequest,
    package: Path,
    keys: Keyring,
    output: Path,
    *,
    policies: Policies | None = None,
    proof: Proof | None = None,
    today: date,
    allow_public_key: bool = False,
    step: Step = lambda _: None,
) -> Report | None:
    """Sign a package that was built without keys: every round at once.

    Args:
        request: What the build asks for.
        package: The package.
        keys: What signs.
        output: The signed package; appears whole or not at all.
        policies: What the package has to meet here, too; those that the build held it to.
        proof: Write attestations beside it, if there are policies and a key for that.
        today: Day on which expiry dates are judged.
        allow_public_key: Sign with a publicly known key all the same.
        step: Told what is being done.

    Returns:
        The report on the package, None without policies.

    Raises:
        NotCompliant: It does not meet the policies.
        SigningError: Package and request do not belong together, a key is missing, not the one that
            is wanted, refused or fails.
        ImageError: The package is damaged.
    """
    for key in keys.signers:
        refuse_public_key(key.public_key, allow_public_key=allow_public_key, name=key.uri)
    refuse_unfit(keys.ota)
    step("compare")
    rom, found = open_requested(request, package)
    refuse_other_keys(request, found, keys, ("ota", "payload"))
    if policies is not None:
        step("check")
        refuse_other_policies(request, policies)
        before = before_signing(check_rom(rom, policies, today=today, sha256=""), rom)
        refuse_unless_compliant(before, Plan((), ()), output, rom)
    refuse_same(package, output)
    with write_whole(output) as file:
        step("sign")
        complete(rom, keys, file)
        step("verify")
        signed = Path(file.name)
        is_ab = bool(rom.contents.payloads)
        refuse_unverified(signed, None, keys, is_ab, allow_public_key=allow_public_key)
        if policies is None:
            return None
        result = open_rom(signed, operations=rom.contents.operations)
        report = named(check_rom(result, policies, today=today), output, result.sha256)
        refuse_unless_compliant(report, Plan((), ()), output, result)
        if proof is not None and keys.attestation is not None:
            step("attest")
            origin = Origin(
                base=Artifact(request.base.name, request.base.sha256),
                policies=policies,
                brought=tuple(Artifact(item.name, item.sha256) for item in request.brought),
                signed_by=keys.fingerprints,
                builder=request.builder or proof.builder,
                moment=proof.moment,
                log_head=proof.log.head() if proof.log else None,
            )
            write_proof(output, report, result, origin, keys.attestation)
    return report


def refuse_other_policies(request: SigningRequest, policies: Policies) -> None:
    """Refuse policies that are not those of the build.

    Raises:
        SigningError: They are not.
    """
    asked = {(item.name, item.sha256) for item in request.policies}
    given = {(item.id, item.sha256) for item in policies.policies}
    for name, _ in sorted(asked ^ given):
        raise SigningError(
            f"the build and this step do not have the same policies: {name} differs",
            hint="give -p as in the build, with the same files",
        )


def refuse_same(package: Path, output: Path) -> None:
    """Refuse to write over the package that is read.

    Raises:
        BuildRefused: They are the same.
    """
    if output.exists() and output.resolve() == package.resolve():
        raise BuildRefused(f"{output} is the package itself", hint="write to another file")


def sign_apps(request: SigningRequest, keys: Keyring, folder: Path) -> list[Path]:
    """Sign the apps of a request, and write a file for each signature.

    Raises:
        SigningError: The apps are not those that the request asks for, or the key is missing, not the
            one that is wanted, or fails.
        ImageError: An app is damaged.
    """
    signer = keys.apk
    if signer is None:
        raise SigningError("there is no key for apps", hint="add roles.apk to the signing profile")
    wanted = request.keys["apk"].spki_sha256 if "apk" in request.keys else ""
    if wanted != spki_sha256(signer.public_key):
        raise SigningError(f"the request wants the key {wanted[:16]}… as apk; the role has another")
    computed = {digest.hex() for app in request.apps for digest in app_digests(app.data, signer)}
    asked = {item.id: item.digest for item in request.digests}
    strange = sorted(name for name, digest in asked.items() if digest not in computed)
    if strange:
        raise SigningError(
            f"the request does not ask for what its apps need: {strange[0]} differs",
            hint="the request was changed after it was written: sign nothing of it",
        )
    signatures = {name: signer.sign_digest(bytes.fromhex(digest)) for name, digest in asked.items()}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, signature in signatures.items():
        path = folder / f"{name}{SIGNATURE_SUFFIX}"
        with write_whole(path) as file:
            file.write(signature)
        written.append(path)
    return written


def read_signatures(paths: Iterable[Path]) -> list[Given]:
    """Read signature files: as they are, and every one in a folder that ends in ``.sig``.

    Raises:
        SigningError: There is none, or one is too large.
        OSError: One cannot be read.
    """
    found = []
    for path in (file for given in paths for file in _files(given)):
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if not data or len(data) > LARGEST:
            raise SigningError(f"{path}: no signature: it has {len(data) or 'no'} bytes")
        found.append(Given(path, data))
    if not found:
        raise SigningError("there is no signature", hint=f"a folder's end in {SIGNATURE_SUFFIX}")
    return found


def with_app_signatures(keys: Keyring, paths: Iterable[Path]) -> Keyring:
    """Return the absent keys of a build, with what the one for apps signed elsewhere.

    Raises:
        SigningError: There is no such key, or no signature.
    """
    key = keys.apk
    if key is None:
        raise SigningError("there is no key for apps", hint="add roles.apk to the signing profile")
    signatures = tuple(item.signature for item in read_signatures(paths))
    return replace(keys, apk=absent(key.uri, key.public_key, key.given, signatures))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.glob(f"*{SIGNATURE_SUFFIX}"))
    else:
        yield path


def attach(
    request: SigningRequest,
    package: Path,
    given: Sequence[Given],
    output: Path,
    *,
    expected: Keyring | None = None,
    allow_public_key: bool = False,
    step: Step = lambda _: None,
) -> SigningRequest | None:
    """Put signatures that were made elsewhere into a package: one round.

    Args:
        request: What the build, or the attachment of the round before, asks for.
        package: The package.
        given: The signatures, in any order.
        output: The package with them; appears whole or not at all. If it waits for more, the request
            for these is written beside it.
        expected: Keys that the request must name; None to believe it.
        allow_public_key: Accept a publicly known key.
        step: Told what is being done.

    Returns:
        The next request, None if the package is signed now.

    Raises:
        SigningError: Package and request do not belong together, a signature is missing, or one is
            not that of a key that is asked for; or a key is publicly known, or not the expected one.
        ImageError: The package is damaged.
    """
    step("compare")
    rom, found = open_requested(request, package)
    keys = requested_keys(request, found, given)
    for key in keys.signers:
        refuse_public_key(key.public_key, allow_public_key=allow_public_key, name=key.uri)
    refuse_other_keys(request, found, keys)
    if expected is not None:
        refuse_other_keys(request, found, expected, ("ota", "payload"))
        if expected.ota.certificate != keys.ota.certificate:
            raise SigningError(
                "the request names another certificate for the role ota than its profile"
            )
    refuse_mismatched(found, keys, given)
    refuse_same(package, output)
    with write_whole(output) as file:
        step("attach")
        complete(rom, keys, file)
        step("verify")
        result = open_rom(Path(file.name), operations=rom.contents.operations)
        asking = Asking(
            request.verdict, request.policies, request.base, request.brought, request.builder
        )
        following = request_for(result, output.name, keys, asking)
        if following is None:
            is_ab = bool(rom.contents.payloads)
            refuse_unverified(Path(file.name), None, keys, is_ab, allow_public_key=allow_public_key)
        else:
            write_request(output, following)
    return following


def requested_keys(
    request: SigningRequest, found: Sequence[Pending], given: Sequence[Given]
) -> Keyring:
    """Return the keys of a request, as what they signed.

    Raises:
        SigningError: The request lacks one, or one is damaged.
    """
    signatures = tuple(item.signature for item in given)

    def key(role: str, *, now: bool) -> CheckedSigner:
        if role not in request.keys:
            raise SigningError(f"the request names no key for the role {role}")
        public_key, certificate = public_half(role, request.keys[role])
        return absent(role, public_key, certificate, signatures if now else None)

    roles = {item.id: item.role for item in request.digests}
    avb = {item.partition: key(roles[item.id], now=True) for item in found if item.round == "avb"}
    return Keyring(
        key("ota", now=request.round == "ota"),
        key("payload", now=request.round == "payload"),
        PartitionSigners(None, avb) if avb else None,
    )


def refuse_mismatched(found: Sequence[Pending], keys: Keyring, given: Sequence[Given]) -> None:
    """Refuse signatures of which one is missing, or of no use.

    Raises:
        SigningError: There is such a one.
    """
    used = set()
    for item in found:
        role, key = holder(item, keys)
        good = [
            each
            for each in given
            if verifies(key.public_key, each.signature, item.digest, item.algorithm)
        ]
        if not good:
            raise SigningError(
                f"no signature of the key {spki_sha256(key.public_key)[:16]}… ({role}) over {item.id} "
                "was given"
                + (f": {given[0].path} is none" if len(given) == len(found) == 1 else ""),
                hint="it may be over another round's digest, hashed once more, or of another key",
            )
        used |= {each.path for each in good}
    for each in given:
        if each.path not in used:
            raise SigningError(f"{each.path}: signs nothing that the request asks for")
