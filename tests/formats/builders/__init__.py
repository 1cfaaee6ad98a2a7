"""Tiny writers made from the published layouts, for formats that no packaged tool writes."""
