"""What a policy may say; one class per section of the file.

A field that is absent demands nothing. Every field's description is shown by editors, through the
JSON schema that ``rom-builder policy schema`` writes.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from rom_builder.policy.values import (
    Day,
    Fingerprint,
    Host,
    Hosts,
    Id,
    Language,
    Model,
    Text,
    host_matches,
    once,
    problem_at,
)

POLICY_SCHEMA = "rom-builder/policy/v1"

T = TypeVar("T")

Mode = Literal["opt-in", "opt-out", "forbidden"]
Occasion = Literal["fresh-install", "factory-reset"]
Sending = Literal["registration", "contact-lookup", "upload", "analytics", "push"]
Permission = Literal["forbidden", "allowed"]
TlsVersion = Literal["1.2", "1.3"]
Topic = Literal["data", "recipient", "off-switch"]
Category = Literal[
    "imei",
    "imsi",
    "iccid",
    "own-number",
    "recipient-number",
    "contacts",
    "message-body",
    "location",
    "cell",
    "carrier-name",
    "mac",
    "serial",
    "android-id",
    "wifi-ssid",
    "app-usage",
]
Categories = Annotated[tuple[Category, ...], AfterValidator(once)]


def _some(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        message = "an empty list sets no limit; leave the key out, or forbid the service"
        raise PydanticCustomError("empty", "{message}", {"message": message})
    return values


def _some_words(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise PydanticCustomError("empty", "an empty list of words is never met")
    return values


def _sha256(text: str) -> str:
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        size = -1
    if size != 32:
        raise PydanticCustomError("sha256", "must be 32 bytes in base64 (44 characters)")
    return text


def _not_rom(name: str) -> str:
    if name == "rom":
        raise PydanticCustomError("reserved", "'rom' is the name of the section on the whole ROM")
    return name


class Section(Model):
    """A part of a policy that must state something."""

    @model_validator(mode="after")
    def _states_something(self) -> Any:
        if not self.model_fields_set:
            raise PydanticCustomError("nothing", "states no requirement; remove it or fill it")
        return self


class Notice(Model):
    """The text that users are shown before they agree."""

    languages: Annotated[tuple[Language, ...], AfterValidator(once)] = Field(
        min_length=1, description="Languages in which the ROM must have it."
    )
    names: dict[Topic, dict[Language, Annotated[tuple[Text, ...], AfterValidator(_some_words)]]] = (
        Field(
            default={},
            description="What it has to name, and for each language the words of which one has to "
            "be in it; capital and small letters are the same.",
        )
    )

    @model_validator(mode="after")
    def _words_in_every_language(self) -> Any:
        for topic, words in self.names.items():
            for language in self.languages:
                if language not in words:
                    message = f"has no words for {language!r}, one of the languages"
                    raise problem_at(("names", topic), words, message)
            for language in words:
                if language not in self.languages:
                    message = f"{language!r} is none of the languages"
                    raise problem_at(("names", topic, language), words, message)
        return self


class Consent(Section):
    """When the service may be on, and what may not happen before the user agreed."""

    mode: Mode | None = Field(
        default=None,
        description="opt-in: off until the user turns it on; opt-out: on until the user turns it "
        "off; forbidden: cannot be on.",
    )
    applies_to: Annotated[tuple[Occasion, ...], AfterValidator(once)] = Field(
        default=("fresh-install", "factory-reset"),
        min_length=1,
        description="Occasions on which the default must be as `mode` says.",
    )
    preselected: Permission | None = Field(
        default=None, description="Whether the box that asks for consent may be ticked already."
    )
    before: Annotated[tuple[Sending, ...], AfterValidator(once)] = Field(
        default=(), description="Kinds of traffic of which nothing is sent before consent."
    )
    on_upgrade: Literal["keep", "ask", "reset"] | None = Field(
        default=None,
        description="Users who have the service on when the update arrives: keep it on, ask them "
        "again, or reset it to off.",
    )
    off_switch: Literal["required"] | None = Field(
        default=None, description="A control with which the user can turn the service off."
    )
    notice: Notice | None = Field(
        default=None, description="What users are told before they agree, and in which languages."
    )


class Pin(Model):
    """One public key that a host must prove."""

    host: Host = Field(description="Host name, or `*.` and a domain for all hosts below it.")
    sha256: Annotated[
        str,
        AfterValidator(_sha256),
        WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$"}),
    ] = Field(description="SHA-256 of the key's SubjectPublicKeyInfo, in base64.")
    expires: Day = Field(description="Day after which phones stop to enforce the pin.")


class Transport(Section):
    """How the service's traffic is protected and where it may go."""

    cleartext: Permission | None = Field(default=None, description="Traffic without TLS.")
    min_tls: TlsVersion | None = Field(
        default=None, description="Oldest TLS version that may be negotiated, in quotes."
    )
    user_ca: Permission | None = Field(
        default=None, description="Trust in certificate authorities that the user installed."
    )
    hosts: Hosts | None = Field(
        default=None,
        description="The only hosts the service may contact; `*.example.com` stands for all hosts "
        "below example.com, not for itself.",
    )
    pins: tuple[Pin, ...] = Field(
        default=(), description="Public keys that hosts must prove; one suffices per host."
    )

    @model_validator(mode="after")
    def _pins_are_of_hosts(self) -> Any:
        for index, pin in enumerate(self.pins):
            if self.hosts is not None and not any(host_matches(h, pin.host) for h in self.hosts):
                message = f"{pin.host!r} is pinned but not in transport.hosts"
                raise problem_at(("pins", index, "host"), pin.host, message)
        return self


class Data(Section):
    """Which personal data the service may send."""

    forbidden: Categories = Field(default=(), description="Categories that must not be sent.")
    allowed: Annotated[Categories, AfterValidator(_some)] = Field(
        default=(), description="The only categories that may be sent; absent: no such limit."
    )

    @model_validator(mode="after")
    def _not_both(self) -> Any:
        for index, category in enumerate(self.allowed):
            if category in self.forbidden:
                message = f"{category!r} is both allowed and forbidden"
                raise problem_at(("allowed", index), category, message)
        return self


class Permissions(Section):
    """What the platform may give the service's apps without asking the user."""

    pre_granted: Permission | None = Field(
        default=None,
        description="Permissions for contacts, messages, calls, phone numbers, location, camera or "
        "microphone that the ROM gives before the user is asked.",
    )
    privileged: Annotated[tuple[Text, ...], AfterValidator(once)] | None = Field(
        default=None,
        description="The only privileged permissions the apps may be given; an empty list is none.",
    )
    exemptions: Permission | None = Field(
        default=None,
        description="Freedom from limits that other apps have: battery saver, data saver, background "
        "location, hidden interfaces.",
    )


class Apps(Section):
    """What the service's apps leave open on the phone itself."""

    unguarded_components: Permission | None = Field(
        default=None,
        description="Services, receivers and providers that any app can reach without a permission.",
    )
    backup: Permission | None = Field(
        default=None, description="Backup of the service's data (android:allowBackup)."
    )
    cleartext_links: Permission | None = Field(
        default=None, description="Links to privacy policies and terms that begin with http:."
    )


class Attestation(Model):
    """A statement that no ROM can show; it is reported with its author, never as a pass."""

    value: Text = Field(description="What is stated.")
    by: Text = Field(description="Who answers for it.")
    until: Day = Field(description="Last day on which the statement holds.")


class ServicePolicy(Model):
    """What is demanded of one messaging service."""

    profile: Annotated[Id, AfterValidator(_not_rom)] = Field(
        description="Id of the profile that says where the service lives."
    )
    presence: Literal["required", "if-present"] = Field(
        default="required",
        description="required: a ROM without the service fails, and build adds its configuration; "
        "if-present: not applicable to a ROM without it.",
    )
    consent: Consent | None = Field(default=None, description="Consent of the user.")
    transport: Transport | None = Field(default=None, description="Protection of the traffic.")
    data: Data | None = Field(default=None, description="Personal data that is sent.")
    permissions: Permissions | None = Field(
        default=None, description="What the apps are given without asking."
    )
    apps: Apps | None = Field(default=None, description="What the service's apps leave open.")
    attested: dict[Id, Attestation] = Field(
        default={}, description="Statements that cannot be checked in a ROM, such as retention."
    )


class Authorities(Section):
    """The certificate authorities that every app of the ROM trusts."""

    reference: Text | None = Field(
        default=None,
        description="The set to compare with: `aosp` for that of the ROM's own Android release, "
        "`aosp-13` for that of one release, or a folder of certificates or a PEM file, relative to "
        "this policy.",
    )
    also: Annotated[tuple[Fingerprint, ...], AfterValidator(once)] = Field(
        default=(),
        description="SHA-256 of certificates that may be there as well; without a reference, the "
        "only ones.",
    )


class RomPolicy(Section):
    """What is demanded of the ROM as a whole."""

    public_keys: Permission | None = Field(
        default=None, description="Signatures by keys that everybody has, such as AOSP test-keys."
    )
    weak_signatures: Permission | None = Field(
        default=None, description="Package signatures that rest on SHA-1 or MD5."
    )
    verified_boot: Literal["required", "optional"] | None = Field(
        default=None, description="Android Verified Boot, enforced by a signed vbmeta."
    )
    debuggable: Permission | None = Field(
        default=None, description="Builds with ro.debuggable=1 or an insecure adb."
    )
    app_signatures: Literal["required", "optional"] | None = Field(
        default=None, description="A signature on every app and module that the platform accepts."
    )
    build_tags: Literal["truthful", "any"] | None = Field(
        default=None, description="ro.build.tags as the keys are that the ROM is signed with."
    )
    certificate_authorities: Authorities | None = Field(
        default=None, description="The certificate authorities that every app trusts."
    )


class Policy(Model):
    """One policy file."""

    schema_version: Literal["rom-builder/policy/v1"] = Field(
        alias="schema", description="Version of this format."
    )
    id: Id = Field(description="Short name; equals the file name where the policy is shipped.")
    title: Text = Field(description="What the policy demands, in one line.")
    description: Text | None = Field(default=None, description="Why, for whom, and what it leaves.")
    references: tuple[Text, ...] = Field(
        default=(), description="Laws and standards that the policy follows."
    )
    extends: Annotated[tuple[Text, ...], AfterValidator(once)] = Field(
        default=(),
        description="Policies this one builds on: a shipped id, or a file relative to this one.",
    )
    weakens: Annotated[tuple[Text, ...], AfterValidator(once)] = Field(
        default=(),
        description="Requirements of extended policies that this one lowers on purpose, such as "
        "`reference-messaging.consent.mode` or `rom.debuggable`.",
    )
    services: tuple[ServicePolicy, ...] = Field(
        default=(), description="Messaging services, each by its profile."
    )
    rom: RomPolicy | None = Field(default=None, description="The ROM as a whole.")

    @model_validator(mode="after")
    def _demands_something(self) -> Any:
        if not (self.services or self.rom or self.extends):
            raise PydanticCustomError("nothing", "demands nothing: no services, rom or extends")
        return self

    @model_validator(mode="after")
    def _one_policy_per_service(self) -> Any:
        seen: set[str] = set()
        for index, service in enumerate(self.services):
            if service.profile in seen:
                message = f"service {service.profile!r} is listed twice"
                raise problem_at(("services", index, "profile"), service.profile, message)
            seen.add(service.profile)
        return self
