"""Sessions with PKCS #11 tokens: each token logged in to once, a wrong PIN never tried again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rom_builder.errors import SigningError
from rom_builder.keys.files import (
    PassphraseFile,
    PassphraseSource,
    take_variable,
    without_core_dumps,
)
from rom_builder.signers.pkcs11_uri import Pkcs11Uri
from rom_builder.signers.signer import KeyReference

if TYPE_CHECKING:
    from pkcs11 import Session, Token

PIN_VARIABLE = "ROM_BUILDER_PIN"
"""Where the PIN is looked for when neither the URI nor the signing profile says where it is."""


@dataclass(slots=True)
class LoggedIn:
    """A session and the PIN that opened it, for keys that want it again for each signature."""

    session: Session
    pin: str | None = field(repr=False)


_sessions: dict[tuple[str, int], LoggedIn] = {}
_refused: set[tuple[str, int]] = set()


def log_in(module: str, uri: Pkcs11Uri, reference: KeyReference) -> LoggedIn:
    """Return a session with the one token that a URI means, logged in.

    The PIN is tried once in the life of this process, whoever asks, so that a wrong one in a
    profile of six roles does not lock the token.

    Raises:
        SigningError: The module cannot be loaded, no token or more than one is meant, it is locked
            or about to be, there is no PIN, or it is wrong.
    """
    import pkcs11

    shown = reference.uri
    try:
        token = _token(pkcs11.lib(module), uri, shown)
        place = (module, token.slot.slot_id)
        if place in _sessions:
            return _sessions[place]
        if place in _refused:
            raise SigningError(f"{shown}: its token refused the PIN and is not asked again")
        _refuse_risk(token, shown)
        pin = _pin(token, uri, reference)
        without_core_dumps()
        _sessions[place] = LoggedIn(_open(token, pin, place, shown), pin)
        return _sessions[place]
    except pkcs11.exceptions.PKCS11Error as error:
        raise SigningError(f"{shown}: {told(error)}") from None
    except RuntimeError as error:  # what python-pkcs11 raises for a module that is none
        raise SigningError(f"{shown}: {' '.join(str(error).split())[:200]}") from None


def _open(token: Token, pin: str | None, place: tuple[str, int], shown: str) -> Session:
    import pkcs11

    try:
        return token.open(user_pin=pkcs11.PROTECTED_AUTH if pin is None else pin)
    except pkcs11.exceptions.UserAlreadyLoggedIn:
        return token.open()
    except (
        pkcs11.exceptions.PinIncorrect,
        pkcs11.exceptions.PinInvalid,
        pkcs11.exceptions.PinLenRange,
    ):
        _refused.add(place)
        raise SigningError(
            f"{shown}: the PIN is wrong; it was tried once",
            hint="a few more wrong PINs lock most tokens: look it up before you try again",
        ) from None
    except pkcs11.exceptions.PKCS11Error:
        _refused.add(place)
        raise


def _token(library: Any, uri: Pkcs11Uri, shown: str) -> Token:
    """Return the one token that a URI means.

    Raises:
        SigningError: There is none, or more than one.
    """
    present: list[Token] = [slot.get_token() for slot in library.get_slots(token_present=True)]
    found = [token for token in present if _is_meant(token, uri)]
    if not found:
        labels = ", ".join(sorted(repr(token.label) for token in present if token.label))
        raise SigningError(
            f"{shown}: no such token is present", hint=f"present: {labels or 'none at all'}"
        )
    if len(found) > 1:
        raise SigningError(
            f"{shown}: {len(found)} tokens could be meant",
            hint="add serial= or slot-id=: "
            + ", ".join(f"{t.serial.decode(errors='replace').strip()}" for t in found),
        )
    return found[0]


def _is_meant(token: Token, uri: Pkcs11Uri) -> bool:
    serial = token.serial.decode(errors="replace").strip()
    return (
        uri.token in (None, token.label)
        and uri.serial in (None, serial)
        and uri.model in (None, token.model)
        and uri.manufacturer in (None, token.manufacturer_id)
        and uri.slot_id in (None, token.slot.slot_id)
    )


def _refuse_risk(token: Token, shown: str) -> None:
    """Leave a token alone that is locked, or that one more wrong PIN would lock.

    Raises:
        SigningError: It is.
    """
    from pkcs11 import TokenFlag

    if token.flags & TokenFlag.USER_PIN_LOCKED:
        raise SigningError(
            f"{shown}: the token is locked after too many wrong PINs",
            hint="its security officer can unlock it",
        )
    if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
        raise SigningError(
            f"{shown}: one more wrong PIN locks the token, so none is tried",
            hint="log in by hand with the vendor's tool; that resets the counter",
        )


def _pin(token: Token, uri: Pkcs11Uri, reference: KeyReference) -> str | None:
    """Return the PIN; None where the token has a keypad of its own and nothing names another source.

    Raises:
        SigningError: There is none, or it stands in the URI and that is not allowed.
    """
    from pkcs11 import TokenFlag

    if uri.pin_value is not None:
        if "inline-pin" not in reference.allowed:
            raise SigningError(
                f"{reference.uri}: the PIN stands in the URI, for everyone who reads it",
                hint="name a file with pin-source=file:/path, or a variable in the signing profile: "
                "passphrase: {env: NAME}",
            )
        return uri.pin_value
    source: PassphraseSource | None = reference.passphrase
    if uri.pin_source is not None:
        source = _pin_source(uri.pin_source, reference)
    try:
        if source is not None:
            return _decoded(source.read(), reference.uri)
        if token.flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH:
            return None
        return _decoded(take_variable(PIN_VARIABLE), reference.uri)
    except SigningError as error:
        raise SigningError(
            f"{reference.uri}: no PIN: {error.message}",
            hint=error.hint
            or "name its source: pin-source=file:/path in the URI, or passphrase: "
            "{env: NAME} in the signing profile",
        ) from None


def _pin_source(source: str, reference: KeyReference) -> PassphraseSource:
    """Return the file that a pin-source names: ``file:`` URI or path.

    Raises:
        SigningError: It names something else; a program (``|command``) is not started.
    """
    path = source.removeprefix("file:")
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    if path.startswith("|") or ":" in path.partition("/")[0]:
        raise SigningError(f"{reference.uri}: pin-source can only be a file")
    return PassphraseFile(reference.folder / Path(path))


def _decoded(pin: bytes, shown: str) -> str:
    try:
        return pin.decode()
    except UnicodeDecodeError:
        raise SigningError(f"{shown}: the PIN is not UTF-8") from None


def told(error: Exception) -> str:
    """Return in words what a token answered; its own text is not taken, it may hold anything."""
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in type(error).__name__).strip()
    return f"the token answers: {words.replace('p k c s11', 'PKCS #11')}"
