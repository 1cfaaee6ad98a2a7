"""What an updater-script says of the block images of its package, and of their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rom_builder.errors import BuildRefused, ImageError
from rom_builder.formats.edify import Call, Expression, Operation, Text, calls, constant
from rom_builder.formats.source import Source
from rom_builder.formats.transfer_list import BLOCK_SIZE, parse_ranges
from rom_builder.formats.updater_script import UpdaterScript
from rom_builder.rom import SCRIPT

READING = (
    "range_sha1",
    "sha1_check",
    "read_file",
    "apply_patch",
    "apply_patch_check",
    "patch_partition",
    "patch_partition_check",
)
"""Calls that ask for the bytes a partition has."""


@dataclass(frozen=True, slots=True)
class BlockUpdate:
    """One ``block_image_update(device, package_extract_file(list), data, patch)``.

    Attributes:
        device: The partition, as it is written if it is not the same on every phone.
        transfer_list: Entry of the transfer list.
        data: Entry of new.dat.
    """

    device: str
    transfer_list: str | None
    data: str | None


def block_updates(script: UpdaterScript) -> Iterator[BlockUpdate]:
    """Yield every block update that a script makes."""
    for call in _calls(script):
        if call.name == "block_image_update" and len(call.args) == 4:
            listed = call.args[1]
            name = None
            if isinstance(listed, Call) and listed.name == "package_extract_file":
                name = constant(listed.args[0]) if len(listed.args) == 1 else None
            yield BlockUpdate(_device(script, call.args[0]), name, constant(call.args[2]))


def with_digests(
    script: UpdaterScript, changed: Mapping[str, tuple[Source, Source]], others: set[str]
) -> bytes:
    """Return a script whose ``range_sha1`` comparisons fit images that changed.

    Args:
        script: The base's.
        changed: The image before and after, by device.
        others: Devices that are known to be none of those.

    Raises:
        BuildRefused: A call asks for bytes of a changed partition in a way that cannot be kept true.
        ImageError: An image is damaged.
    """
    known = {call.start: text for call, text in _comparisons(script)}
    new: list[tuple[Text, bytes]] = []
    for call in _calls(script):
        if call.name not in READING or not call.args or _device(script, call.args[0]) in others:
            continue
        images = changed.get(_device(script, call.args[0]))
        text = known.get(call.start)
        if images and text and len(call.args) == 2:
            new.append((text, _new_digest(call, text, *images)))
        elif any(_may_name(_device(script, arg), changed) for arg in call.args):
            raise _refused(call, "asks for bytes of a partition that changes")
    data = script.data
    for text, digest in sorted(new, key=lambda item: -item[0].start):
        data = data[: text.start] + b'"' + digest + b'"' + data[text.end :]
    return data


def _calls(script: UpdaterScript) -> Iterator[Call]:
    for statement in script.statements:
        for call, _ in calls(statement.expression):
            yield call


def _device(script: UpdaterScript, argument: Expression) -> str:
    value = constant(argument)
    if value is not None:
        return value
    return script.data[argument.start : argument.end].decode("utf-8", "surrogateescape")


def _may_name(argument: str, devices: Mapping[str, object]) -> bool:
    """Say whether an argument could be a device under this or another path."""
    words = argument.replace(":", "/").replace('"', "/").split("/")
    return any(
        device in argument or device.rstrip('")').replace('"', "/").rpartition("/")[2] in words
        for device in devices
    )


def _comparisons(script: UpdaterScript) -> Iterator[tuple[Call, Text]]:
    """Yield each ``range_sha1(...)`` that is compared with a text, and the text."""
    for statement in script.statements:
        waiting: list[Expression] = [statement.expression]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Call):
                waiting += item.args
            elif isinstance(item, Operation):
                waiting += item.operands
                if item.operator in ("==", "!=") and len(item.operands) == 2:
                    for left, right in (item.operands, item.operands[::-1]):
                        if (
                            isinstance(left, Call)
                            and left.name == "range_sha1"
                            and isinstance(right, Text)
                        ):
                            yield left, right


def _new_digest(call: Call, text: Text, before: Source, after: Source) -> bytes:
    ranges = constant(call.args[1])
    try:
        parsed = parse_ranges(ranges or "", "range_sha1")
        exact = _range_sha1(before, parsed) == text.value.lower()
    except ImageError as error:
        raise _refused(call, error.message) from error
    if not exact:
        raise _refused(call, "compares with a digest that is not that of the base's image")
    return _range_sha1(after, parsed).encode()


def _range_sha1(image: Source, ranges: tuple[tuple[int, int], ...]) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    for start, end in ranges:
        for first in range(start, end, 256):
            count = min(256, end - first) * BLOCK_SIZE
            digest.update(image.read_at(first * BLOCK_SIZE, count))
    return digest.hexdigest()


def _refused(call: Call, reason: str) -> BuildRefused:
    return BuildRefused(
        f"{SCRIPT}: {call.name} at byte {call.start:#x} {reason}",
        hint="take a base whose script does not verify the partition",
    )
