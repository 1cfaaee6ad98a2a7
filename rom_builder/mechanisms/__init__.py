"""Mechanisms: one way of configuring a service each, with two inverse functions.

``read`` says what a ROM sets; ``render`` says what must change in a ROM to set something. A module
joins with ``@mechanism("its-name")``.
"""

from rom_builder.mechanisms.mechanism import MECHANISMS, Mechanism, binding_models

__all__ = ["MECHANISMS", "Mechanism", "binding_models"]
