"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from rom_builder.errors import SigningError
from rom_builder.findings import Severity

C = TypeVar("C", bound=Callable[..., Any])

policy_option = click.option(
    "-p",
    "--policy",
    "policies",
    multiple=True,
    required=True,
    metavar="POLICY",
    help="Policy file, or the id of a shipped one (rom-builder policy list). May be repeated.",
)


_waivers = click.option(
    "--waivers",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Do not count failures that this waiver file answers for. May be repeated.",
)
_no_waivers = click.option(
    "--no-waivers", is_flag=True, help="Count every failure, whatever waivers are set elsewhere."
)
_strict_waivers = click.option(
    "--strict-waivers", is_flag=True, help="Expired and unused waivers are errors."
)


def waiver_options(command: C) -> C:
    """Add ``--waivers``, ``--no-waivers`` and ``--strict-waivers`` to a command."""
    return _waivers(_no_waivers(_strict_waivers(command)))


def exceptions_of(
    waivers: Sequence[Path], no_waivers: bool, strict: bool, baseline: Path | None = None
) -> Any:
    """Load what a check is told not to count, before the image is touched."""
    from rom_builder.waivers.apply import Exceptions
    from rom_builder.waivers.baseline import load_baseline
    from rom_builder.waivers.models import load_waivers

    return Exceptions(
        () if no_waivers else load_waivers(tuple(waivers)),
        None if baseline is None else load_baseline(baseline),
        strict,
    )


def load(policies: Sequence[str]) -> Any:
    """Load policies with every mechanism's options known."""
    from rom_builder.mechanisms import binding_models
    from rom_builder.policy.load import load_policies

    return load_policies(policies, binding_models())


def moment() -> datetime:
    """Return when it is: ``SOURCE_DATE_EPOCH`` if set, else now, in UTC."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch:
        if not (epoch.isascii() and epoch.isdigit() and len(epoch) <= 11):
            raise click.UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}, not a number of seconds")
        return datetime.fromtimestamp(int(epoch), UTC)
    return datetime.now(UTC)


def today() -> date:
    """Return the day on which dates are judged, that of :func:`moment`."""
    return moment().date()


def severity(name: str) -> Severity:
    """Return the severity of that name."""
    return Severity[name.upper()]


def color_of(stream: Any) -> bool:
    """Say whether a stream shows colours: a terminal that can, and the user did not ask for none.

    An empty ``NO_COLOR`` asks for nothing (no-color.org).
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return bool(stream.isatty()) and not plain


def ask(role: str) -> str:
    """Ask for the passphrase of a role's key on the terminal."""
    if not sys.stdin.isatty():
        raise SigningError(
            f"the key of the role {role} has a passphrase and there is no terminal to ask for it",
            hint="name its source in the signing profile: passphrase: {env: NAME} or {file: PATH}",
        )
    answer: str = click.prompt(f"Passphrase of the {role} key", hide_input=True, err=True)
    return answer


log_option = click.option(
    "--signing-log",
    "log",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ROM_BUILDER_SIGNING_LOG",
    metavar="FILE",
    help="Record each signature in this file (keys log); by default where log: of the signing profile "
    "says, else nowhere.",
)


def signing_log(
    given: Path | None, signing: str, artifact: Path, policies: Sequence[str] = ()
) -> Any:
    """Return the log of a run, None if nothing names one.

    Args:
        given: What the option says.
        signing: The signing profile.
        artifact: What is signed.
        policies: SHA-256 of the policies that decide.
    """
    from rom_builder.signers.log import SigningLog
    from rom_builder.signers.profile import load_signing_profile, profile_path

    path = given
    if path is None:
        profile = profile_path(signing)
        named = load_signing_profile(profile).log
        if named is None:
            return None
        path = profile.parent / named
    run = next((os.environ[name] for name in RUN if os.environ.get(name)), "")
    actor = next((os.environ[name] for name in ACTOR if os.environ.get(name)), "")
    name, run, actor = (
        text.encode(errors="replace").decode() for text in (artifact.name, run, actor)
    )
    return SigningLog(path, name, run, actor, tuple(policies))


RUN = ("ROM_BUILDER_RUN_ID", "GITHUB_RUN_ID", "CI_JOB_ID", "BUILD_TAG")
"""Who names a run: ourselves, GitHub, GitLab, Jenkins."""
ACTOR = ("ROM_BUILDER_ACTOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_USER_ID", "USER")
