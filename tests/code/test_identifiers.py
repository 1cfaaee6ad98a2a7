from __future__ import annotations

from rom_builder.code.identifiers import SOURCES, Sources, read_identifiers
from rom_builder.code.trust_all import read_trust_all

from .look_alikes import scope


def test_reads_of_a_sink_and_what_it_calls_are_found_with_their_hash() -> None:
    app = scope("identifiers")
    body = app.bodies["Lcom/example/Lookup;->query(Ljava/lang/String;)V"]
    sources = Sources(SOURCES, frozenset(("com.vendor.Coder.hash",)))
    found = list(read_identifiers("x", "contact-lookup", app, body, sources))
    assert [(read.category, read.hashed) for read in found] == [
        ("imei", "an unsalted hash (com.vendor.Coder.hash)"),
        ("imsi", ""),
    ]
    assert [step.text for step in found[1].steps] == [
        "com.example.Lookup.query assembles what is sent",
        "com.example.Lookup.query calls com.example.Lookup.more",
        "com.example.Lookup.more calls android.telephony.TelephonyManager.getSubscriberId",
    ]


def test_without_the_profile_a_hash_is_just_a_call() -> None:
    app = scope("identifiers")
    body = app.bodies["Lcom/example/Lookup;->query(Ljava/lang/String;)V"]
    first, _ = read_identifiers("x", "s", app, body, Sources(SOURCES, frozenset()))
    assert first.hashed == ""


def test_a_digest_of_the_platform_is_a_hash() -> None:
    app = scope("identifiers")
    body = app.bodies["Lcom/example/Lookup;->digested(Ljava/security/MessageDigest;)V"]
    (read,) = read_identifiers("x", "s", app, body, Sources(SOURCES, frozenset()))
    assert (read.category, read.hashed) == (
        "iccid",
        "a hash (java.security.MessageDigest.digest)",
    )


def test_code_that_accepts_everybody_is_found_and_dead_code_told_apart() -> None:
    found = {each.what: each.reachable for each in read_trust_all("x", scope("trust_all"))}
    assert found == {
        "com.example.Live.checkServerTrusted checks no certificate": True,
        "com.example.Dead.verify accepts any host name": False,
    }


def test_a_verifier_set_for_a_whole_process_is_told_from_one_of_a_single_factory() -> None:
    found = {each.what: each.reachable for each in read_trust_all("x", scope("allow_all"))}
    verifier = "uses a verifier that accepts any host name"
    assert found == {
        f"com.example.Fallback.send {verifier} (set for the whole process: getSocketFactory)": True,
        f"com.example.Own.use {verifier}": True,
        f"com.example.Own.unused {verifier} "
        "(set for the whole process: setDefaultHostnameVerifier)": False,
    }
