from __future__ import annotations

import pytest

from rom_builder.policy.models import (
    Apps,
    Consent,
    Data,
    Permissions,
    RomPolicy,
    ServicePolicy,
    Transport,
)
from rom_builder.policy.requirements import demanded, demanded_of_rom


def service(**sections: object) -> ServicePolicy:
    return ServicePolicy.model_validate({"profile": "x", **sections})


def test_requirements_come_in_the_order_of_the_file() -> None:
    policy = service(
        data=Data(allowed=("mac",), forbidden=("imei",)),
        transport=Transport(cleartext="forbidden", min_tls="1.2"),
        consent=Consent(off_switch="required", mode="opt-in", on_upgrade="ask"),
    )
    assert list(demanded(policy)) == [
        "presence", "consent.default", "consent.on_upgrade", "consent.off_switch",
        "transport.cleartext", "transport.min_tls", "data.forbidden", "data.allowed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "policy",
    [
        service(consent=Consent(preselected="allowed", before=())),
        service(consent=Consent(applies_to=("fresh-install",))),
        service(transport=Transport(cleartext="allowed", user_ca="allowed", pins=())),
        service(data=Data(forbidden=())),
        service(permissions=Permissions(pre_granted="allowed", exemptions="allowed")),
        service(apps=Apps(backup="allowed")),
    ],
)
def test_what_is_allowed_on_purpose_is_no_requirement(policy: ServicePolicy) -> None:
    assert list(demanded(policy)) == ["presence"]


def test_an_empty_list_of_what_may_be_given_is_a_requirement() -> None:
    policy = service(permissions=Permissions(privileged=()))
    assert list(demanded(policy)) == ["presence", "permissions.privileged"]


def test_what_is_optional_is_no_requirement_on_the_rom() -> None:
    rom = RomPolicy(
        verified_boot="optional", app_signatures="required", build_tags="any", debuggable="allowed"
    )
    assert list(demanded_of_rom(rom)) == ["rom.app_signatures"]
    assert list(demanded_of_rom(None)) == []
