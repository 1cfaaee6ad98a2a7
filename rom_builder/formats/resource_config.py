"""Configurations that resources are qualified with: ``mcc310-mnc260-de-rUS-v21``.

Layout, little-endian (``ResTable_config`` in Android's ``androidfw/ResourceTypes.h``); a file may
hold fewer bytes, the rest counts as zero, and all zero is the default configuration:

======  ====  ==============================================================
offset  size  field
======  ====  ==============================================================
0       4     size of this structure
4       2, 2  mobile country code, mobile network code (0xffff: network 00)
8       2, 2  language, region: two ASCII letters, or three packed in 15 bits
12      1, 1  orientation, touchscreen
14      2     density
16      1, 1  keyboard, navigation
18      1, 1  hidden keyboard and navigation, grammatical gender
20      2, 2  screen width and height in pixels
24      2, 2  SDK version, minor version
28      1, 1  screen layout, UI mode
30      2     smallest screen width in dp
32      2, 2  screen width and height in dp
36      4, 8  script and variant of the locale
48      1, 1  second screen layout, colour mode
52      1, 8  whether the script was computed, numbering system
======  ====  ==============================================================
"""

from __future__ import annotations

import re
from struct import Struct, pack

_CONFIG = Struct("<I2H2s2sBBH4B2H2HBBH2H4s8sBBHB8s3x")
CONFIG_SIZE = _CONFIG.size
"""64 bytes, as Android 7 and later write it."""

_ORIENTATION = {1: "port", 2: "land", 3: "square"}
_TOUCHSCREEN = {1: "notouch", 2: "stylus", 3: "finger"}
_KEYBOARD = {1: "nokeys", 2: "qwerty", 3: "12key"}
_NAVIGATION = {1: "nonav", 2: "dpad", 3: "trackball", 4: "wheel"}
_KEYS_HIDDEN = {1: "keysexposed", 2: "keyshidden", 3: "keyssoft"}
_NAVIGATION_HIDDEN = {1: "navexposed", 2: "navhidden"}
_GENDER = {1: "neuter", 2: "feminine", 3: "masculine"}
_SCREEN_SIZE = {1: "small", 2: "normal", 3: "large", 4: "xlarge"}
_LONG = {1: "notlong", 2: "long"}
_DIRECTION = {1: "ldltr", 2: "ldrtl"}
_ROUND = {1: "notround", 2: "round"}
_GAMUT = {1: "nowidecg", 2: "widecg"}
_RANGE = {1: "lowdr", 2: "highdr"}
_NIGHT = {1: "notnight", 2: "night"}
_UI_TYPE = {2: "desk", 3: "car", 4: "television", 5: "appliance", 6: "watch", 7: "vrheadset"}
_DENSITY = {
    120: "ldpi",
    160: "mdpi",
    213: "tvdpi",
    240: "hdpi",
    320: "xhdpi",
    480: "xxhdpi",
    640: "xxxhdpi",
    0xFFFE: "anydpi",
    0xFFFF: "nodpi",
}

_WRITABLE = re.compile(
    r"(?:mcc(?P<mcc>\d{3}))?(?:(?:^|(?<=.)-)mnc(?P<mnc>\d{2,3}))?"
    r"(?:(?:^|(?<=.)-)(?P<language>[a-z]{2})(?:-r(?P<region>[A-Z]{2}))?)?"
)
_LANGUAGE = re.compile(
    r"(?:mcc\d+-?)?(?:mnc\d+-?)?(?:b\+(?P<tag>[a-z]{2,3})|(?!car\b)(?P<language>[a-z]{2,3})(?=-|$))"
)


def decode_config(raw: bytes) -> str:
    """Return the qualifiers as a resource folder's name would have them; "" is the default.

    Values without a name in this version of Android appear as ``field=number``.
    """
    (
        _, mcc, mnc, language, region, orientation, touchscreen, density, keyboard, navigation,
        hidden, gender, width, height, sdk, minor, layout, ui_mode, smallest, width_dp, height_dp,
        script, variant, layout2, colour, _, computed, numbering,
    ) = _CONFIG.unpack(raw[:CONFIG_SIZE].ljust(CONFIG_SIZE, b"\0"))  # fmt: skip
    qualifiers = [
        f"mcc{mcc}" if mcc else "",
        f"mnc{0 if mnc == 0xFFFF else mnc:02}" if mnc else "",
        _locale(language, region, b"" if computed else script, variant, numbering),
        _named("gender", gender & 3, _GENDER),
        _named("direction", layout >> 6 & 3, _DIRECTION),
        f"sw{smallest}dp" if smallest else "",
        f"w{width_dp}dp" if width_dp else "",
        f"h{height_dp}dp" if height_dp else "",
        _named("size", layout & 15, _SCREEN_SIZE),
        _named("long", layout >> 4 & 3, _LONG),
        _named("round", layout2 & 3, _ROUND),
        _named("gamut", colour & 3, _GAMUT),
        _named("range", colour >> 2 & 3, _RANGE),
        _named("orientation", orientation, _ORIENTATION),
        _named("ui", 0 if ui_mode & 15 == 1 else ui_mode & 15, _UI_TYPE),
        _named("night", ui_mode >> 4 & 3, _NIGHT),
        _DENSITY.get(density, f"{density}dpi") if density else "",
        _named("touchscreen", touchscreen, _TOUCHSCREEN),
        _named("keys", hidden & 3, _KEYS_HIDDEN),
        _named("keyboard", keyboard, _KEYBOARD),
        _named("navigation", hidden >> 2 & 3, _NAVIGATION_HIDDEN),
        _named("navigation", navigation, _NAVIGATION),
        f"{width}x{height}" if width or height else "",
        f"v{sdk}" + (f".{minor}" if minor else "") if sdk or minor else "",
    ]
    if any(raw[CONFIG_SIZE:]):
        qualifiers.append(f"unknown={raw[CONFIG_SIZE:].hex()}")
    return "-".join(filter(None, qualifiers))


def encode_config(qualifiers: str | bytes) -> bytes:
    """Return the structure for a network, a locale or both, such as ``mcc310-mnc260-de-rUS``.

    A structure that was read is returned in full length.

    Raises:
        ValueError: Other qualifiers, or a wrong order; or a structure longer than is known here.
    """
    if isinstance(qualifiers, bytes):
        if any(qualifiers[CONFIG_SIZE:]):
            raise ValueError(f"a resource configuration of {len(qualifiers)} bytes is not known")
        body = qualifiers[4:CONFIG_SIZE]
        return pack("<I", CONFIG_SIZE) + body.ljust(CONFIG_SIZE - 4, b"\0")
    match = _WRITABLE.fullmatch(qualifiers)
    if match is None:
        raise ValueError(f"cannot write a resource configuration {qualifiers!r}")
    mcc, mnc = int(match["mcc"] or 0), 0
    if match["mnc"]:
        mnc = int(match["mnc"]) or 0xFFFF
    language, region = (match["language"] or "").encode(), (match["region"] or "").encode()
    return pack("<I2H2s2s", CONFIG_SIZE, mcc, mnc, language, region).ljust(CONFIG_SIZE, b"\0")


def config_sdk(raw: bytes) -> int:
    """Return the lowest API level that a configuration holds on (``v26``), 0 if it names none."""
    return int.from_bytes(raw[24:26], "little")


def language_of(qualifiers: str) -> str:
    """Return the language that qualifiers name, two or three letters; empty if they name none.

    >>> language_of("zh-rCN"), language_of("mcc310, fr"), language_of("land"), language_of("b+sr+Latn")
    ('zh', 'fr', '', 'sr')
    """
    for one in qualifiers.split(", "):  # where a reference led from one configuration to another
        match = _LANGUAGE.match(one)
        if match:
            return match["tag"] or match["language"]
    return ""


def _named(field: str, value: int, names: dict[int, str]) -> str:
    return names.get(value, f"{field}={value}") if value else ""


def _locale(language: bytes, region: bytes, script: bytes, variant: bytes, numbering: bytes) -> str:
    name, area = _unpack(language, "a"), _unpack(region, "0")
    if not (_text(script) or _text(variant) or _text(numbering)):
        return "-".join(filter(None, (name, area and f"r{area}")))
    tags = (name, _text(script), area, _text(variant))
    numbers = ("u", "nu", _text(numbering)) if _text(numbering) else ()
    return "b+" + "+".join(filter(None, (*tags, *numbers)))


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("latin-1")


def _unpack(raw: bytes, first: str) -> str:
    """Two letters as they stand; three are five bits each, counted from ``first``."""
    if not raw[0] & 0x80:
        return _text(raw)
    packed = raw[0] << 8 | raw[1]
    return "".join(chr((packed >> shift & 31) + ord(first)) for shift in (0, 5, 10))
