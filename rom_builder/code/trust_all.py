"""Code that accepts any certificate or any host name, told from dead code.

A trust manager that checks nothing, a host-name verifier that always says yes, and the platform's
own ``ALLOW_ALL_HOSTNAME_VERIFIER``.
"""

from __future__ import annotations

from collections.abc import Iterator

from rom_builder.code.programs import Body
from rom_builder.code.scope import Scope
from rom_builder.code_facts import TrustAll

MANAGERS = ("Ljavax/net/ssl/X509TrustManager;", "Ljavax/net/ssl/X509ExtendedTrustManager;")
VERIFIERS = (
    "Ljavax/net/ssl/HostnameVerifier;", "Lorg/apache/http/conn/ssl/X509HostnameVerifier;",
    "Lorg/apache/http/conn/ssl/AbstractVerifier;",
)  # fmt: skip
ALLOW_ALL = "Lorg/apache/http/conn/ssl/AllowAllHostnameVerifier;"


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
        for body in scope.bodies_of(owner).values():
            name = body.method.ref.name
            if is_manager and name == "checkServerTrusted" and _does_nothing(body):
                what = f"{body.title} checks no certificate"
            elif not is_manager and name == "verify" and _always_true(body):
                what = f"{body.title} accepts any host name"
            else:
                continue
            yield TrustAll(service, what, _created(scope, owner), body.place())
    yield from _allow_all(service, scope)


def _allow_all(service: str, scope: Scope) -> Iterator[TrustAll]:
    sites = [
        site
        for key, found in scope.uses.fields.items()
        if key.partition("->")[2].startswith("ALLOW_ALL_HOSTNAME_VERIFIER:")
        for site in found
    ]
    sites += scope.uses.creations.get(ALLOW_ALL, ())
    seen: set[str] = set()
    for site in sorted(sites):
        if site.method not in seen:
            seen.add(site.method)
            body = scope.bodies[site.method]
            what = f"{body.title} uses a verifier that accepts any host name"
            yield TrustAll(service, what, site.method in scope.reachable, body.place(site.address))


def _created(scope: Scope, owner: str) -> bool:
    """Say whether something that can run creates a class or one below it."""
    return any(
        site.method in scope.reachable
        for each in (owner, *scope.subtypes(owner))
        for site in scope.uses.creations.get(each, ())
    )


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
