"""Androguard sees the same calls, constants and control flow; it also judges the renamed files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rom_builder.code.graph import Graph
from rom_builder.code.programs import Program, Unit
from rom_builder.code.scope import Scope
from rom_builder.code.uses import INVOKES
from rom_builder.formats.dex import parse_dex

from .look_alikes import DEX

FILES = sorted(DEX.rglob("*.dex"))
Calls = set[tuple[str, int, str]]
Edges = dict[int, set[int]]


def analysis(data: bytes) -> Any:
    pytest.importorskip("loguru").logger.disable("androguard")
    dex = pytest.importorskip("androguard.core.dex").DEX(data)
    found = pytest.importorskip("androguard.core.analysis.analysis").Analysis(dex)
    found.create_xref()
    return found


def key(method: Any) -> str:
    return f"{method.class_name}->{method.name}{method.descriptor.replace(' ', '')}"


def methods_of(found: Any) -> Iterator[Any]:
    for each in found.get_methods():
        if not each.is_external() and each.get_method().get_code():
            yield each


def their_calls(found: Any) -> tuple[Calls, Calls]:
    calls, strings = set(), set()
    for each in methods_of(found):
        ours = key(each.get_method())
        for _, called, offset in each.get_xref_to():
            method = called.get_method() if hasattr(called, "get_method") else called
            calls.add((ours, offset // 2, key(method)))
    for text in found.get_strings():
        for _, method, offset in text.get_xref_from(with_offset=True):
            strings.add((key(method.get_method()), offset // 2, text.get_orig_value()))
    return calls, strings


def my_calls(scope: Scope) -> tuple[Calls, Calls]:
    called = {ref for body in scope.coded for _, ref in scope.uses.calls_by(body)}
    calls = {(s.method, s.address, r.key) for r in called for _, s in scope.uses.calls_of(r)}
    strings = {(s.method, s.address, text) for text, at in scope.uses.strings.items() for s in at}
    return calls, strings


def their_edges(method: Any) -> tuple[Edges, Edges]:
    """Where control goes from the last instruction of each block, and where exceptions land."""
    edges: Edges = {}
    landings: Edges = {}
    for block in method.get_basic_blocks().get():
        last = start = block.get_start()
        for each in block.get_instructions():
            last, start = start, start + each.get_length()
        edges[last // 2] = {child.get_start() // 2 for _, _, child in block.get_next()}
        caught = block.get_exception_analysis()
        landings[block.get_start() // 2] = {
            handler[1] // 2 for handler in (caught.exceptions if caught else ())
        }
    return edges, landings


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(DEX).with_suffix("")))
def test_androguard_sees_the_same(path: Path) -> None:
    data = path.read_bytes()
    theirs = analysis(data)
    scope = Scope(Program(path.name, [Unit(path.name, parse_dex(data))]))
    calls, strings = their_calls(theirs)
    assert calls
    assert (calls, strings) == my_calls(scope)
    compared = 0
    for each in methods_of(theirs):
        body = scope.bodies[key(each.get_method())]
        graph = Graph(body.code)
        edges, landings = their_edges(each)
        for last, following in edges.items():
            if last in graph.at:  # androguard has blocks of the padding before tables
                assert set(graph.next[last]) == following, (body.key, last)
                compared += 1
        mine = {at for landing in graph.caught.values() for at in landing}
        assert mine == {at for found in landings.values() for at in found}
    assert compared


def test_calls_are_told_by_operation() -> None:
    assert {code for code in INVOKES if code < 0x74} == {0x6E, 0x6F, 0x70, 0x71, 0x72}
