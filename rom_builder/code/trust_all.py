"""Code that accepts any certificate or any host name, told from dead code.

A trust manager that checks nothing, a host-name verifier that always says yes, and the platform's
own ``ALLOW_ALL_HOSTNAME_VERIFIER``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from rom_builder.code.programs import Body
from rom_builder.code.scope import Scope
from rom_builder.code.uses import INVOKES, NEW_INSTANCE
from rom_builder.facts.code import Step, TrustAll

MANAGERS = ("Ljavax/net/ssl/X509TrustManager;", "Ljavax/net/ssl/X509ExtendedTrustManager;")
VERIFIERS = (
    "Ljavax/net/ssl/HostnameVerifier;", "Lorg/apache/http/conn/ssl/X509HostnameVerifier;",
    "Lorg/apache/http/conn/ssl/AbstractVerifier;",
)  # fmt: skip
ALLOW_ALL = "Lorg/apache/http/conn/ssl/AllowAllHostnameVerifier;"
SHARED = frozenset((
    ("Lorg/apache/http/conn/ssl/SSLSocketFactory;", "getSocketFactory"),
    ("Ljavax/net/ssl/HttpsURLConnection;", "setDefaultHostnameVerifier"),
    ("Ljavax/net/ssl/HttpsURLConnection;", "setDefaultSSLSocketFactory"),
))  # fmt: skip
"""Calls by which a method changes what every connection of its process uses: Apache's client has one
factory for all, which ``getSocketFactory`` returns."""


def read_trust_all(service: str, scope: Scope) -> Iterator[TrustAll]:
    """Yield every such place of one app.

    Raises:
        ImageError: Code is damaged.
    """
    for owner in sorted(scope.own):
        above = scope.foreign(owner)
        is_manager = any(each in MANAGERS for each in above)
        if not is_manager and not any(each in VERIFIERS for each in above):
            continue
        for body in scope.bodies_of(owner):
            name = body.method.ref.name
            if is_manager and name == "checkServerTrusted" and _does_nothing(body):
                what = f"{body.title} checks no certificate"
            elif not is_manager and name == "verify" and _always_true(body):
                what = f"{body.title} accepts any host name"
            else:
                continue
            creator = _created(scope, owner)
            way = steps_to(scope, creator) if creator else ()
            yield TrustAll(service, what, creator is not None, way, body.place())
    yield from _allow_all(service, scope)


def _allow_all(service: str, scope: Scope) -> Iterator[TrustAll]:
    sites = [
        site
        for ref, found in scope.uses.fields.items()
        if ref.name == "ALLOW_ALL_HOSTNAME_VERIFIER"
        for site in scope.uses.sites_of(found)
    ]
    sites += scope.uses.creations.get(ALLOW_ALL, ())
    seen: set[str] = set()
    for site in sorted(sites):
        if site.method not in seen:
            seen.add(site.method)
            body = scope.bodies[site.method]
            what = f"{body.title} uses a verifier that accepts any host name{_for_all(body)}"
            live = body in scope.reachable
            way = steps_to(scope, site.method) if live else ()
            yield TrustAll(service, what, live, way, body.place(site.address))


def _for_all(body: Body) -> str:
    """Return words that say that a method changes what its whole process uses; ``""`` if not."""
    ids = body.unit.ids
    called = (ids.method(operand) for _, _, operand in body.code.references(INVOKES))
    name = next((ref.name for ref in called if (ref.owner, ref.name) in SHARED), None)
    return "" if name is None else f" (set for the whole process: {name})"


def _created(scope: Scope, owner: str) -> str | None:
    """Return a method that can run and creates a class or one below it; None if there is none."""
    creators = (
        site.method
        for each in (owner, *scope.subtypes(owner))
        for site in scope.uses.creations.get(each, ())
        if scope.bodies[site.method] in scope.reachable
    )
    return next(creators, None)


def steps_to(scope: Scope, key: str) -> tuple[Step, ...]:
    """Return one way to a method, from what the system calls on."""
    way = scope.way_to(key)
    steps = [Step(f"the system can call {way[0].title}", way[0].place())]
    for caller, called in pairwise(way):
        steps.append(
            Step(
                f"{caller.title} leads to {called.title}",
                caller.place(_where(scope, caller, called)),
            )
        )
    return tuple(steps)


def _where(scope: Scope, caller: Body, called: Body) -> int:
    """Return the address at which a method calls or creates what leads to another; else its start."""
    ids = caller.unit.ids
    for address, code, operand in caller.code.references(INVOKES | {NEW_INSTANCE}):
        if code == NEW_INSTANCE:
            if called.method.ref.owner in (ids.type(operand), *scope.supertypes(ids.type(operand))):
                return address
        elif called in scope.targets(code, ids.method(operand)):
            return address
    return 0


def _does_nothing(body: Body) -> bool:
    """Say whether a method neither throws nor calls anything: it cannot refuse."""
    return not any(
        each.name.startswith(("throw", "invoke", "execute")) for each in body.code.instructions
    )


def _always_true(body: Body) -> bool:
    """Say whether a method returns true and nothing else."""
    code = [each for each in body.code.instructions if each.name not in ("nop", "goto")]
    if body.method.ref.returns == "V":
        return _does_nothing(body)
    return (
        len(code) == 2
        and code[0].name.startswith("const")
        and code[0].operand == 1
        and code[1].name == "return"
    )
