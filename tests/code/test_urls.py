from __future__ import annotations

from rom_builder.code.urls import Urls
from rom_builder.facts.code import CodeUrl, UnresolvedUrls

from .look_alikes import scope


def read() -> tuple[dict[str, CodeUrl], list[UnresolvedUrls]]:
    app = scope("urls", library="library")
    found = list(Urls("x", app, ("SecureRequest",), {}).read())
    urls = {each.url: each for each in found if isinstance(each, CodeUrl)}
    return urls, [each for each in found if isinstance(each, UnresolvedUrls)]


def test_a_url_is_put_together_across_files_and_methods() -> None:
    urls, _ = read()
    lookup = urls["http://api.example.com/pass/v3/user@id"]
    assert (lookup.scheme, lookup.host) == ("http", "api.example.com")
    assert lookup.method == "com.example.LookupService.onHandleIntent"
    assert [part.path for part in lookup.parts] == [
        "library.apk!/classes.dex",
        "urls.apk!/classes.dex",
    ]
    assert lookup.encrypted == "never"


def test_every_value_that_a_field_can_have_counts() -> None:
    urls, _ = read()
    assert "http://preview.example.com/pass/v3/user@id" in urls


def test_a_constant_field_and_concat_and_a_returned_text_are_followed() -> None:
    urls, _ = read()
    assert urls["https://api.example.com/pass/login"].scheme == "https"


def test_the_class_that_encrypts_is_seen_through_wrappers() -> None:
    urls, _ = read()
    assert urls["http://encrypted.example.com/a"].encrypted == "always"
    assert urls["http://wrapped.example.com/plain"].encrypted == "never"
    assert urls["http://wrapped.example.com/unsure"].encrypted == "sometimes"


def test_dead_code_is_told_apart_and_logging_is_no_use() -> None:
    urls, _ = read()
    assert not urls["http://dead.example.com/"].reachable
    assert urls["http://encrypted.example.com/a"].reachable
    assert "http://logged.example.com/" not in urls


def test_a_host_known_only_at_run_time_is_counted() -> None:
    _, (unresolved,) = read()
    assert unresolved.count == 1
    assert unresolved.example.text.startswith("http://{}/gslb?ver={} in com.example.LookupService")
