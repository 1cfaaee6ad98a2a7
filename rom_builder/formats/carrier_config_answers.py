"""What the carrier configuration of a ROM says of one key, for every SIM that it tells apart.

A SIM gets the blocks of one file of the app, then those of ``vendor.xml``; of all that match it the
last value counts. Which SIMs a filter catches is not known here, so a filter stands for the SIMs that
it names: each gets an answer of its own, and one answer is for the SIMs that nothing singles out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rom_builder.formats.carrier_config import SIM_FILTERS, CarrierBlock, CarrierFile, Scalar

EVERYBODY = "every SIM"
THE_OTHERS = "every other SIM"
NO_SIM = "no SIM"

Filters = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """One file of blocks.

    Attributes:
        name: Its nested name.
        carrier: Whom it is for; None for ``vendor.xml`` and ``vendor_no_sim.xml``.
    """

    name: str
    blocks: tuple[CarrierBlock, ...]
    carrier: CarrierFile | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """What filters on the device are compared with.

    Attributes:
        name: ``Build.DEVICE``, None if it is not known.
        sku: The app's ``sku_filter``, None if it is not known.
    """

    name: str | None = None
    sku: str | None = None

    def matches(self, key: str, text: str) -> bool | None:
        """Say whether a filter on the device matches; None if that cannot be told from a ROM."""
        known = {"device": self.name, "sku": self.sku}.get(key)
        return None if known is None else text.lower() == known.lower()


@dataclass(frozen=True, slots=True)
class Step:
    """One place that sets the key.

    Attributes:
        values: Empty for a value that the platform cannot take.
    """

    source: str
    line: int
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the SIMs of one kind get.

    Attributes:
        who: The SIMs, in words.
        values: One value or those of an array; empty if the platform cannot take it, None if no
            file sets the key.
        steps: The places that led there; the last one wins.
        filters: Which of these SIMs are meant, where not all are.
    """

    who: str
    values: tuple[Scalar, ...] | None
    steps: tuple[Step, ...]
    filters: Filters = ()


@dataclass(frozen=True, slots=True)
class _Write:
    filters: Filters
    step: Step


def answers(
    key: str, assets: Iterable[Source], vendor: Source | None, device: Device
) -> list[Answer]:
    """Return what the key comes to for a phone with a SIM; the SIMs of no file come first.

    Args:
        assets: Files of the app, each for the SIMs of one carrier.
        vendor: ``vendor.xml`` under the overlays of the ROM.
    """
    of_vendor = [w for w in _writes(key, vendor, device) if not any(map(_never, w.filters))]
    base, filtered = _last_for_all(of_vendor)
    others = _answer(THE_OTHERS, [base] if base else [])
    if base is not None and not filtered:
        return [Answer(EVERYBODY, others.values, others.steps)]
    found = [others]
    if base is None:
        for asset in assets:
            if asset.carrier is not None and asset.carrier.kind != "no-sim":
                found += _of_carrier(key, asset, asset.carrier, filtered, device)
    before = [base] if base else []
    found += [_answer(f"SIMs with {_told(w.filters)}", [*before, w], w.filters) for w in filtered]
    return found if len(found) > 1 else [Answer(EVERYBODY, others.values, others.steps)]


def answers_without_sim(
    key: str, assets: Iterable[Source], vendor: Source | None, device: Device
) -> list[Answer]:
    """Return what the key comes to for a phone without a SIM; nothing if no file sets it."""
    writes = [
        _Write(_others(write.filters), write.step)
        for source in (*(a for a in assets if a.carrier and a.carrier.kind == "no-sim"), vendor)
        for write in _writes(key, source, device)
    ]
    base, filtered = _last_for_all(writes)
    found = [_answer(NO_SIM, [base])] if base else []
    before = [base] if base else []
    return found + [
        _answer(f"{NO_SIM}, {_told(w.filters)}", [*before, w], w.filters) for w in filtered
    ]


def _of_carrier(
    key: str, asset: Source, carrier: CarrierFile, vendor: Sequence[_Write], device: Device
) -> Iterator[Answer]:
    writes = []
    for write in _writes(key, asset, device):
        filters = _left(write.filters, carrier, own=True)
        if filters is not None:
            writes.append(_Write(filters, write.step))
    if not writes or any(_left(write.filters, carrier, own=False) == () for write in vendor):
        return  # nothing is set, or every SIM of this file is answered by vendor.xml
    base, filtered = _last_for_all(writes)
    if base is not None:
        yield _answer(carrier.label, [base])
    before = [base] if base else []
    for write in filtered:
        who = f"{carrier.label} with {_told(write.filters)}"
        yield _answer(who, [*before, write], write.filters)


def _left(filters: Filters, carrier: CarrierFile, *, own: bool) -> Filters | None:
    """Return the filters that are still open for the SIMs of a file; None if one fails them all.

    Args:
        own: The filters stand in the file itself: one for a carrier id does not ask about the SIM.
    """
    left = []
    for name, text in filters:
        if carrier.kind == "carrier-id":
            if own and not _of_device(name):
                continue
            if name == "cid" and text == carrier.identity:
                continue
        elif name in ("mcc", "mnc"):
            start, end = (0, 3) if name == "mcc" else (3, None)
            if text != carrier.identity[start:end]:
                return None
            continue
        left.append((name, text))
    return tuple(left)


def _writes(key: str, source: Source | None, device: Device) -> list[_Write]:
    """Return the places in a file that set a key, with the filters that may or may not match."""
    found = []
    for block in source.blocks if source else ():
        value = block.settings.get(key)
        if value is None or source is None:
            continue
        matched = {(n, text): device.matches(n, text) for n, text in block.other_filters}
        if False in matched.values():
            continue
        left = tuple(each for each in block.filters if matched.get(each) is not True)
        found.append(_Write(left, Step(source.name, value.line, value.values)))
    return found


def _never(each: tuple[str, str]) -> bool:
    """Say whether no SIM can match a filter.

    A country code has three digits and a network code two or three. A compiled file may have lost
    leading zeros: aapt2 makes ``mnc="01"`` the number 1 unless it is told to keep what was written.
    """
    name, text = each
    return (name == "mcc" and len(text) != 3) or (name == "mnc" and len(text) not in (2, 3))


def _last_for_all(writes: Sequence[_Write]) -> tuple[_Write | None, list[_Write]]:
    """Return the last place that counts for everybody, and those after it that count for some."""
    base: _Write | None = None
    filtered: list[_Write] = []
    for write in writes:
        if not write.filters:
            base, filtered = write, []
            continue
        # What is asked of fewer SIMs, or of the same ones, does not outlive a later word to all.
        filtered = [w for w in filtered if not set(write.filters) <= set(w.filters)]
        filtered.append(write)
    return base, filtered


def _answer(who: str, writes: Sequence[_Write], filters: Filters = ()) -> Answer:
    steps = tuple(write.step for write in writes)
    return Answer(who, steps[-1].values if steps else None, steps, filters)


def _others(filters: Filters) -> Filters:
    return tuple(each for each in filters if _of_device(each[0]))


def _of_device(name: str) -> bool:
    return name not in SIM_FILTERS


def _told(filters: Filters) -> str:
    return " ".join(f"{name}={text}" for name, text in filters)
