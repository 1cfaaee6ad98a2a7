"""What operations do to registers and to the flow of control, by their mnemonics."""

from __future__ import annotations

import re
from functools import lru_cache

_NO_RESULT = re.compile(
    r"if-|return|throw|monitor|[aisp]put|invoke|goto|nop|fill-|filled|packed|sparse|sput|iput|check-cast"
    r"|execute|breakpoint"
)
_CAN_THROW = re.compile(
    r"invoke|execute|throw|new-|check-cast|instance-of|monitor|[ais]get|[ais]put|array-length|fill"
    r"|const-class|const-string|div-int|rem-int|div-long|rem-long"
)


@lru_cache(maxsize=512)
def leaves(name: str) -> bool:
    """Say whether control may go elsewhere than to the next instruction; nop may be padding."""
    return name.startswith(("return", "throw", "goto", "if-", "nop")) or name.endswith("-switch")


@lru_cache(maxsize=512)
def defines(name: str) -> bool:
    """Say whether an operation writes its first register."""
    return not _NO_RESULT.match(name)


@lru_cache(maxsize=512)
def is_wide(name: str) -> bool:
    """Say whether an operation writes two registers."""
    head = name.removesuffix("/2addr")
    return "-wide" in head or (
        head.endswith(("-long", "-double")) and not head.startswith(("cmp", "cmpl", "cmpg"))
    )


@lru_cache(maxsize=512)
def can_throw(name: str) -> bool:
    """Say whether an operation may go to an exception handler."""
    return bool(_CAN_THROW.match(name))


@lru_cache(maxsize=512)
def by_slot(name: str) -> bool:
    """Say whether an operation names a slot: what it calls, reads or writes is not known."""
    return name.endswith(("-quick", "-quick/range")) or name.startswith("execute-inline")
