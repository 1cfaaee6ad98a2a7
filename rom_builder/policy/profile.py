"""Where one messaging service lives in a ROM, and what can be set there: data, not code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from rom_builder.policy.messages import nearest
from rom_builder.policy.models import Category
from rom_builder.policy.values import Hosts, Id, Language, Model, Text, once, pattern, problem_at
from rom_builder.policy.yaml import Document, load_yaml, validate

PROFILE_SCHEMA = "rom-builder/profile/v1"

Requirement = Literal[
    "consent.default",
    "consent.preselected",
    "consent.before",
    "consent.on_upgrade",
    "transport.cleartext",
    "transport.min_tls",
    "transport.user_ca",
    "transport.hosts",
    "transport.pins",
    "data.forbidden",
    "data.allowed",
]

_PACKAGE = r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*"
_CALL = r"[A-Za-z_$][\w$]*(\.[\w$]+)*\.(<init>|[\w$]+)"
# Starts at the root, no empty part, no part that is . or ..
_PATH = r"(/(?!\.{1,2}(/|$))[^/\\]+)+"


def _scalar(value: object) -> str | bool | int:
    if isinstance(value, str | bool | int):
        return value
    raise PydanticCustomError("scalar", "must be text, true, false or a whole number")


Package = Annotated[str, AfterValidator(pattern(_PACKAGE, "a package name such as 'com.example'"))]
DevicePath = Annotated[
    str, AfterValidator(pattern(_PATH, "a device path such as '/system/etc/example.xml'"))
]
Resource = Annotated[
    str, AfterValidator(pattern(r"string/[\w.]+", "a string resource such as 'string/notice'"))
]
Call = Annotated[str, AfterValidator(pattern(_CALL, "a method such as 'com.example.Client.send'"))]
Value = Annotated[
    str | bool | int,
    PlainValidator(_scalar),
    WithJsonSchema({"type": ["string", "boolean", "integer"]}),
]


class Binding(Model):
    """One place in a ROM that a mechanism can render and read.

    A mechanism derives its own model from this one and declares its options there::

        class Options(Binding):
            key: str = Field(description="Name of the property.")
    """

    mechanism: str = Field(description="How the place is configured.")

    @classmethod
    def keys(cls, data: object, context: Mapping[str, Any]) -> dict[str, FieldInfo]:
        name = data.get("mechanism") if isinstance(data, dict) else None
        model: type[Binding] = context.get("bindings", {}).get(name, cls)
        return dict(model.model_fields)


def _bind(value: object, info: ValidationInfo) -> object:
    """Return ``value`` as the options of the mechanism it names."""
    if not isinstance(value, dict):
        return value
    bindings: Mapping[str, type[Binding]] = (info.context or {}).get("bindings", {})
    name = value.get("mechanism")
    if "mechanism" not in value:
        missing = InitErrorDetails(type="missing", loc=("mechanism",), input=value)
        raise ValidationError.from_exception_data("binding", [missing])
    if not isinstance(name, str) or name not in bindings:
        known = nearest(str(name), bindings) or f"; known: {', '.join(sorted(bindings))}"
        raise problem_at(("mechanism",), name, f"unknown mechanism {name!r}{known}")
    return bindings[name].model_validate(value, context=info.context)


class _Placed(Model):
    """A binding whose options stand beside the common keys in the file."""

    binding: Annotated[Binding, BeforeValidator(_bind)]

    @classmethod
    def keys(cls, data: object, context: Mapping[str, Any]) -> dict[str, FieldInfo]:
        own = {name: field for name, field in cls.model_fields.items() if name != "binding"}
        return {**Binding.keys(data, context), **own}

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        if not isinstance(data, dict) or isinstance(data.get("binding"), Binding):
            return data
        if "binding" in data:
            message = "unknown key 'binding'; write its keys beside the others"
            raise problem_at(("binding",), data["binding"], message)
        own = {key: value for key, value in data.items() if key in cls.model_fields}
        return {**own, "binding": {key: value for key, value in data.items() if key not in own}}


class Switch(_Placed):
    """One place that holds the service's on/off default."""

    value_on: Value = Field(description="What stands there when the service is on by default.")
    value_off: Value = Field(description="What stands there when it is off by default.")
    read_by: Package | None = Field(
        default=None,
        description="Package whose code reads it; without a reader the value proves nothing.",
    )

    @model_validator(mode="after")
    def _differs(self) -> Any:
        if (type(self.value_on), self.value_on) == (type(self.value_off), self.value_off):
            raise problem_at(("value_off",), self.value_off, "is the same as value_on")
        return self


class Setting(_Placed):
    """One place through which another requirement of the policy is configured."""

    requirement: Requirement = Field(description="The requirement that is configured here.")


class Anchor(Model):
    """A place in the bytecode, found by what survives renaming: a string constant or a call."""

    string: Text | None = Field(
        default=None, description="A string constant that only this code uses, in full."
    )
    call: Call | None = Field(
        default=None,
        description="A method that only this code calls, `com.example.Client.send`; "
        "of the platform or a library, as the app's own names change with every build.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Any:
        if (self.string is None) == (self.call is None):
            message = "needs one of string and call"
            raise problem_at((), {}, message)
        return self

    @property
    def label(self) -> str:
        """The anchor in words."""
        return f"call of {self.call}" if self.call else f"string {self.string!r}"


class Gate(Anchor):
    """Code that asks whether the user has consented.

    With a string: a method that reads the setting of that name and answers yes or no. With a call:
    the call itself; true, or an object, is yes.
    """

    sinks: Annotated[tuple[Id, ...], AfterValidator(once)] = Field(
        default=(), description="Kinds of sending that it allows; all where none is named."
    )
    agrees_to: Text | None = Field(
        default=None,
        description="What the user agrees to there, where that is not the service itself; "
        "such a gate counts, with a warning.",
    )


class Sink(Anchor):
    """Code that sends."""

    id: Id = Field(description="Name of what is sent, such as `contact-lookup`.")
    package: Package | None = Field(
        default=None, description="Only code of this package; every program of the service else."
    )
    sends: Annotated[tuple[Category, ...], AfterValidator(once)] = Field(
        default=(), description="Categories of data that it sends."
    )


class Choice(Model):
    """Where code says that the user made a choice."""

    string: Text = Field(
        description="Name under which a yes or no is passed on; the call that does so has both."
    )


class Source(Model):
    """A method of the vendor's platform that returns data about the user or the device."""

    call: Call = Field(description="The method, `com.example.telephony.Manager.getImsi`.")
    reads: Category = Field(description="What it returns.")


class Box(Model):
    """A control with which the user turns the service on and off, as code names it."""

    string: Text = Field(
        description="Key of the control, or the name under which code keeps whether it is ticked."
    )


class Upgrade(Model):
    """Code that takes over what an earlier version of the service stored."""

    string: Text = Field(description="A string constant that only this code uses, in full.")


class NoticeText(Model):
    """Where the text lies that users are shown before they agree.

    A string resource of an app, or a text file of the device.
    """

    package: Package | None = Field(default=None, description="App that holds the text.")
    resource: Resource | None = Field(
        default=None, description="Its string resource, `string/consent_notice`."
    )
    file: DevicePath | None = Field(default=None, description="Or the text file that is the text.")
    language: Language = Field(
        default="en", description="Language of the file, or of the app's default resources."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Any:
        in_app = (self.package is not None, self.resource is not None)
        if in_app != ((self.file is None,) * 2):
            raise problem_at((), {}, "needs package and resource, or file")
        return self


class Code(Model):
    """Anchors in the bytecode: strings, as names of classes change with every build."""

    gates: tuple[Gate, ...] = Field(default=(), description="Where consent is asked for.")
    sinks: tuple[Sink, ...] = Field(default=(), description="Where data leaves.")
    choices: tuple[Choice, ...] = Field(
        default=(), description="Where a user's choice is passed on; a constant there is none."
    )
    boxes: tuple[Box, ...] = Field(
        default=(),
        description="Controls with which the user turns the service on and off, as code names them.",
    )
    upgrades: tuple[Upgrade, ...] = Field(
        default=(), description="Where the choice that an earlier version stored is taken over."
    )
    sources: tuple[Source, ...] = Field(
        default=(), description="Further methods that return personal data or identifiers."
    )
    hashes: Annotated[tuple[Call, ...], AfterValidator(once)] = Field(
        default=(), description="Further methods that hash what they are given, without a salt."
    )
    encrypted_by: Annotated[tuple[Text, ...], AfterValidator(once)] = Field(
        default=(),
        description="Ends of names of classes that encrypt a request before it is sent, such as "
        "`SecureRequest`; http through them is not plain text.",
    )


LanguageTag = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z]{2,4})*$")]


class Words(Model):
    """What users call the service, in one language."""

    name: Text = Field(description="Its name on the phone.")
    purpose: Text = Field(description="What it is for, as a clause without a full stop.")
    turn_off: Text | None = Field(
        default=None, description="Where a user turns it off: `Settings > Messaging > ...`."
    )


class Profile(Model):
    """One profile file."""

    schema_version: Literal["rom-builder/profile/v1"] = Field(
        alias="schema", description="Version of this format."
    )
    id: Id = Field(description="Short name; equals the file name.")
    title: Text = Field(description="The service, in one line.")
    description: Text | None = Field(default=None, description="What one must know of it.")
    references: tuple[Text, ...] = Field(default=(), description="Where the facts come from.")
    packages: Annotated[tuple[Package, ...], AfterValidator(once)] = Field(
        default=(), description="Packages that are the service."
    )
    files: Annotated[tuple[DevicePath, ...], AfterValidator(once)] = Field(
        default=(),
        description="Device files that build renders from templates/PATH.j2; where one of them is, "
        "the service is present.",
    )
    switches: tuple[Switch, ...] = Field(
        default=(), description="Every place the on/off default shows."
    )
    settings: tuple[Setting, ...] = Field(
        default=(), description="Places through which other requirements are configured."
    )
    transport: tuple[Annotated[Binding, BeforeValidator(_bind)], ...] = Field(
        default=(), description="Places that decide on TLS."
    )
    notices: tuple[NoticeText, ...] = Field(
        default=(), description="Texts that users are shown before they agree."
    )
    code: Code = Field(default=Code(), description="Anchors in the bytecode.")
    hosts: Hosts = Field(default=(), description="Hosts the service is known to contact.")
    words: dict[LanguageTag, Words] = Field(
        default={}, description="What users call the service, by language, for notices."
    )
    code_files: Annotated[tuple[DevicePath, ...], AfterValidator(once)] = Field(
        default=(),
        description="Globs of further files with the service's code, such as framework jars that "
        "hold its base URLs.",
    )


def read_profile(document: Document, bindings: Mapping[str, type[Binding]]) -> Profile:
    """Return the profile that ``document`` holds.

    Raises:
        PolicyError: All that is wrong with it.
    """
    return validate(Profile, document, {"bindings": bindings})


def load_profile(path: str | Path, bindings: Mapping[str, type[Binding]]) -> Profile:
    """Return the profile in one file.

    Args:
        path: A file; a shipped profile is named in :func:`rom_builder.policy.load.shipped`.
        bindings: Model of the options by name of mechanism.

    Raises:
        PolicyError: All that is wrong with the file.
    """
    return read_profile(load_yaml(path), bindings)
