"""Rule ROM208: the URLs that the service's code puts together are https."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from rom_builder.facts import Facts
from rom_builder.facts.code import CodeRead, CodeUrl, UnresolvedUrls
from rom_builder.findings import Evidence, Finding, Layer, Status, Strength
from rom_builder.policy.values import host_matches
from rom_builder.rules.cleartext_permitted import REFERENCES
from rom_builder.rules.code_evidence import evidence, unread_code
from rom_builder.rules.rule import Case, rule


@rule(
    "ROM208",
    alias="service-url-over-http-in-code",
    title="No code of the service sends to the service's hosts over http",
    requirement="transport.cleartext",
    fix="use https for these requests; the programs that make them need new versions",
    references=REFERENCES,
)
def service_url_in_code(case: Case, facts: Facts) -> Iterator[Finding]:
    """Addresses of the service's hosts, as the code joins them, begin with https.

    A base address may stand in one file and the path in another; both are shown. Only code counts
    that something the system starts can lead to. A request through a class that the profile says
    encrypts it is not plain text; where an argument decides on that the answer is unknown.
    Addresses whose host is known only at run time are counted: they too leave the answer unknown.

    One finding a host; one more for each sink of the profile, as what is sent there matters most.
    """
    transport = case.demand.transport
    if transport is None or transport.cleartext != "forbidden":
        return
    if not any(facts.of(CodeRead, case.name)):
        return
    hosts = (*case.anatomy.hosts, *(transport.hosts or ()))
    urls = [
        url
        for url in facts.of(CodeUrl, case.name)
        if url.reachable and any(host_matches(pattern, url.host) for pattern in hosts)
    ]
    yield from by_sink(case, urls)
    by_host: dict[str, list[CodeUrl]] = defaultdict(list)
    for url in urls:
        if url.scheme == "http":
            by_host[url.host].append(url)
    failed = False
    for host, found in sorted(by_host.items()):
        plain = [url for url in found if url.encrypted == "never"]
        unsure = [url for url in found if url.encrypted == "sometimes"]
        failed |= bool(plain)
        if plain:
            yield case.finding(
                Status.FAIL,
                f"the code sends to {host} over http: {plain[0].url}"
                + (f" and {len(plain) - 1} more" if len(plain) > 1 else ""),
                shown(plain),
                layer=Layer.CODED,
                selector=host,
            )
        if unsure:
            yield case.finding(
                Status.UNKNOWN,
                f"the code sends to {host} over http, encrypted or not as an argument says",
                shown(unsure),
                layer=Layer.CODED,
                selector=f"{host} encrypted",
            )
    unresolved = list(facts.of(UnresolvedUrls, case.name))
    if not failed and (unresolved or unread_code(case, facts)):
        count = sum(found.count for found in unresolved)
        yield case.finding(
            Status.UNKNOWN,
            f"the host of {count} addresses in the code is known only at run time",
            evidence(found.example for found in unresolved),
            layer=Layer.CODED,
            selector="run time",
        )
    elif not failed and urls:
        yield case.finding(
            Status.PASS,
            "every address of the service's hosts in the code is https or encrypted first",
            shown(urls),
            layer=Layer.CODED,
        )


def by_sink(case: Case, urls: Iterable[CodeUrl]) -> Iterator[Finding]:
    """Judge the addresses in the methods that hold the profile's sinks."""
    found: dict[str, list[CodeUrl]] = defaultdict(list)
    for url in urls:
        for sink in url.sinks:
            found[sink].append(url)
    for sink, there in sorted(found.items()):
        plain = [url for url in there if url.scheme == "http" and url.encrypted != "always"]
        yield case.finding(
            Status.FAIL if plain else Status.PASS,
            f"{sink} goes over {'http' if plain else 'https'}: {(plain or there)[0].url}",
            shown(plain or there),
            layer=Layer.CODED,
            selector=f"sink {sink}",
        )


def shown(urls: Iterable[CodeUrl]) -> tuple[Evidence, ...]:
    """Turn addresses into evidence; where they come from several files, each is named."""
    lines = []
    for url in urls:
        files = dict.fromkeys(part.path for part in url.parts)
        parts = f", put together from {' and '.join(files)}" if len(files) > 1 else ""
        how = {"always": ", encrypted first", "sometimes": ", sometimes encrypted first"}
        text = f"{url.method} uses {url.url}{parts}{how.get(url.encrypted, '')}"
        lines.append(Evidence(url.location, text, Strength.CODE))
    return tuple(lines)
