"""Policies and profiles: what is demanded of a ROM, and where to look for it."""
