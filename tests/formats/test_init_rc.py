"""What init scripts set, split into words as init does it."""

from __future__ import annotations

import pytest

from rom_builder.errors import ImageError
from rom_builder.formats.init_rc import parse_init_rc

SAMPLE = rb"""# Copyright
import /init.${ro.hardware}.rc

on early-init
    # setprop commented.out 1
    setprop a.b 1
    setprop a.c "two \"words\""   # said
    setprop \
        a.d   \
        joined
    write /sys/x 1
    setprop a.e ${ro.serialno}
    setprop too many words here
    setprop few
on property:sys.boot_completed=1 && property:a.b=1
    setprop a.f x#y
service adbd /system/bin/adbd
    setprop a.g 1
on boot
setprop a.h ""
    setprop a.i last"""


def test_what_is_set() -> None:
    found = {each.name: each for each in parse_init_rc(SAMPLE)}
    assert {name: each.value for name, each in found.items()} == {
        "a.b": "1",
        "a.c": 'two "words"',
        "a.d": "joined",
        "a.e": None,
        "a.f": "x#y",
        "a.h": "",
        "a.i": "last",
    }
    assert [found[name].line for name in ("a.b", "a.d", "a.e", "a.i")] == [6, 8, 12, 21]


def test_when_it_is_set() -> None:
    found = {each.name: each for each in parse_init_rc(SAMPLE)}
    assert found["a.f"].trigger == "property:sys.boot_completed=1 && property:a.b=1"
    assert found["a.f"].stage is None
    early, late = found["a.b"].stage, found["a.i"].stage
    assert early is not None
    assert late is not None
    assert early < late


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 0),
        (b"setprop a b", 0),
        (b"on boot\r\n  setprop a b\r\n", 1),
        (b"on boot\n setprop a b\\", 1),
        (b"on boot\n setprop \\\r\n a b", 1),
        (b'on boot\n setprop a "b', 1),
        (b"\xff\xfe on boot\n\0", 0),
        (b"on boot\n" + b"setprop a b\n" * 1000, 1000),
        (b"on\nsetprop a b", 1),
    ],
)
def test_odd_scripts(data: bytes, count: int) -> None:
    assert len(parse_init_rc(data)) == count


def test_a_huge_script_is_refused() -> None:
    with pytest.raises(ImageError, match="at most 1048576 are read"):
        parse_init_rc(b"#" * (1 << 20) + b"#")
