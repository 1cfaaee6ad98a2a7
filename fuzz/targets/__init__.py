"""Every reader of hostile input as one call, by the name of its format.

A target reads all that it can of the bytes it is given. :class:`~rom_builder.errors.ImageError` and
:class:`~rom_builder.errors.PolicyError` are the answers to damage; anything else that escapes, and
any reading without end or measure, is a mistake in the reader.
"""

from fuzz.targets import apps, images, signing, text
from fuzz.targets.target import TARGETS, Target

__all__ = ["TARGETS", "Target", "apps", "images", "signing", "text"]
