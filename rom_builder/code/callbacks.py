"""Methods that the platform calls by convention, as far as their names tell."""

from __future__ import annotations

CALLBACKS = frozenset((
    "run", "call", "doInBackground", "loadInBackground", "handleMessage", "query", "insert",
    "update", "delete", "openFile", "attachBaseContext", "beforeTextChanged", "afterTextChanged",
    "getView", "getItem", "bindView", "newView", "instantiateItem", "getCount", "compare",
    "accept", "checkServerTrusted", "verify", "uncaughtException",
))  # fmt: skip
"""Methods that the platform calls by convention, besides those that begin with ``on``."""
LAID_OUT = (
    "Landroid/view/",
    "Landroid/widget/",
    "Landroid/preference/",
    "Landroid/app/Fragment;",
)
"""Beginnings of the names of types that a layout or a preference page may create."""


def is_called_by_name(name: str) -> bool:
    """Say whether the platform calls methods of that name by convention."""
    return name in CALLBACKS or (name.startswith("on") and name[2:3].isupper())
