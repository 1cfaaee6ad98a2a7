"""Which data about the user and the device the code reads on its way to what it sends.

Looked at are the methods that hold a sink and what they call. That a value is read there does not
prove that it is sent, only that the code that sends has it; where a hash lies between, it is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rom_builder.code.operations import by_slot, defines
from rom_builder.code.programs import Body
from rom_builder.code.scope import Scope
from rom_builder.code.uses import INVOKES
from rom_builder.facts.code import DataRead, Step
from rom_builder.formats.dex_ids import MemberRef, dotted
from rom_builder.formats.dex_instructions import Instruction

DEPTH = 3
"""Calls from the method with the sink that are followed into the app."""

MAX_STEPS = 500
"""Instructions after a call in which its result is followed."""

_TELEPHONY = "android.telephony.TelephonyManager"
_CELL = "android.telephony.gsm.GsmCellLocation", "android.telephony.cdma.CdmaCellLocation"
SOURCES: dict[str, str] = {
    **{f"{_TELEPHONY}.{name}": "imei" for name in ("getDeviceId", "getImei", "getMeid")},
    f"{_TELEPHONY}.getSubscriberId": "imsi",
    f"{_TELEPHONY}.getSimSerialNumber": "iccid",
    f"{_TELEPHONY}.getLine1Number": "own-number",
    **{
        f"{_TELEPHONY}.{name}": "carrier-name"
        for name in ("getNetworkOperator", "getNetworkOperatorName", "getSimOperator",
                     "getSimOperatorName")
    },
    **{
        f"{_TELEPHONY}.{name}": "cell"
        for name in ("getCellLocation", "getAllCellInfo", "getNeighboringCellInfo")
    },
    **{f"{owner}.{name}": "cell" for owner in _CELL
       for name in ("getLac", "getCid", "getNetworkId", "getBaseStationId", "getSystemId")},
    "android.location.LocationManager.getLastKnownLocation": "location",
    "android.location.LocationManager.requestLocationUpdates": "location",
    "android.location.Location.getLatitude": "location",
    "android.location.Location.getLongitude": "location",
    "android.net.wifi.WifiInfo.getMacAddress": "mac",
    "android.bluetooth.BluetoothAdapter.getAddress": "mac",
    "java.net.NetworkInterface.getHardwareAddress": "mac",
    "android.net.wifi.WifiInfo.getSSID": "wifi-ssid",
    "android.net.wifi.WifiInfo.getBSSID": "wifi-ssid",
    "android.os.Build.getSerial": "serial",
    "android.telephony.SmsMessage.getMessageBody": "message-body",
    "android.telephony.SmsMessage.getDisplayMessageBody": "message-body",
}  # fmt: skip
"""Methods of the platform that return personal data, with the policy's word for it
(developer.android.com/reference)."""

FIELDS = {
    "Landroid/os/Build;->SERIAL:Ljava/lang/String;": "serial",
    **{
        f"Landroid/provider/ContactsContract${name}:Landroid/net/Uri;": "contacts"
        for name in ("Contacts;->CONTENT_URI", "Data;->CONTENT_URI", "RawContacts;->CONTENT_URI",
                     "CommonDataKinds$Phone;->CONTENT_URI", "PhoneLookup;->CONTENT_FILTER_URI")
    },
}  # fmt: skip
"""Static fields of the platform that hold or lead to personal data."""

SETTINGS = {"android_id": "android-id"}
"""Names of settings, read through ``android.provider.Settings``."""

TRANSFORMS = {
    "java.security.MessageDigest.digest": "a hash",
    "java.security.MessageDigest.update": "a hash",
    "javax.crypto.Mac.doFinal": "a keyed hash",
    "javax.crypto.Cipher.doFinal": "encryption",
}
"""Methods of the platform after which a value is no longer what it was."""
PLAIN = ("Ljava/lang/String;", "Landroid/text/TextUtils;")
"""Classes whose methods hand on what they are given, in another form."""


@dataclass(frozen=True)
class Sources:
    """What returns personal data, and what hashes it: the platform's and the profile's."""

    calls: Mapping[str, str]
    hashes: frozenset[str]


def read_identifiers(
    service: str, sink: str, scope: Scope, start: Body, sources: Sources
) -> Iterator[DataRead]:
    """Yield the personal data that a method with a sink, or what it calls, reads; once per API.

    Raises:
        ImageError: Code is damaged.
    """
    seen: set[tuple[str, str]] = set()
    trail: tuple[Step, ...] = (Step(f"{start.title} assembles what is sent", start.place()),)
    queue = [(start, trail)]
    done = {start.key}
    for body, steps in queue:
        for category, api, address, hashed in _reads(scope, body, sources):
            if (category, api) not in seen:
                seen.add((category, api))
                read = Step(f"{body.title} calls {api}", body.place(address))
                place = body.place(address)
                yield DataRead(service, sink, category, api, hashed, (*steps, read), place)
        if len(steps) > DEPTH:
            continue
        for code, used in scope.uses.calls_by(body):
            targets = scope.targets(code, used)
            callee = targets[0] if len(targets) == 1 else None
            if callee is not None and callee.is_own and callee.key not in done:
                done.add(callee.key)
                step = Step(f"{body.title} calls {callee.title}", body.place())
                queue.append((callee, (*steps, step)))


def _reads(scope: Scope, body: Body, sources: Sources) -> Iterator[tuple[str, str, int, str]]:
    ids = body.unit.ids
    for each in body.code.instructions:
        if each.code in INVOKES:
            ref = ids.method(each.operand)
            category = sources.calls.get(ref.dotted)
            if category:
                yield category, ref.dotted, each.address, _hashed(scope, body, each, sources)
        elif each.name == "sget-object":
            key = ids.field(each.operand).key
            if key in FIELDS:
                name = dotted(key.partition("->")[0]) + "." + key.partition("->")[2].split(":")[0]
                yield FIELDS[key], name, each.address, ""
        elif each.name.startswith("const-string") and ids.string(each.operand) in SETTINGS:
            text = ids.string(each.operand)
            yield SETTINGS[text], f"the setting {text}", each.address, ""


def _hashed(scope: Scope, body: Body, call: Instruction, sources: Sources) -> str:
    """Return what the result of a call is passed through before the method uses it otherwise."""
    graph = body.graph()
    held: set[int] = set()
    at, result_held = call.address + call.size, True
    for _ in range(MAX_STEPS):
        each = graph.at.get(at)
        if each is None or not (held or result_held):
            return ""
        if by_slot(each.name) and held & set(each.registers):
            return ""
        if each.code in INVOKES and held & set(each.registers):
            ref = body.unit.ids.method(each.operand)
            if ref.dotted in sources.hashes:
                return f"an unsalted hash ({ref.dotted})"
            if through := _passed_through(scope, each.code, ref):
                return f"{through} ({ref.dotted})"
            if ref.owner not in PLAIN:
                return ""
            result_held = True
        elif each.registers and defines(each.name):
            moved = (
                each.name.startswith("move") and each.registers[1:2] and each.registers[1] in held
            )
            taken = each.name == "move-result-object" and result_held
            (held.add if moved or taken else held.discard)(each.registers[0])
            result_held = False
        at = next(iter(graph.next[at]), -1)
    return ""


def _passed_through(scope: Scope, code: int, ref: MemberRef) -> str:
    """Return what a call does to a value, itself or in the method of the app that it calls."""
    if ref.dotted in TRANSFORMS:
        return TRANSFORMS[ref.dotted]
    for target in scope.targets(code, ref):
        for _, used in scope.uses.calls_by(target):
            if used.dotted in TRANSFORMS:
                return TRANSFORMS[used.dotted]
    return ""
