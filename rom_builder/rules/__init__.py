"""Rules: one requirement each, from policy and facts to findings; one file each, named as its alias.

A module joins with :func:`rom_builder.rules.rule.rule`; its function's docstring is what
``rom-builder explain`` prints.
"""

from rom_builder.rules.rule import RULES, Rule

__all__ = ["RULES", "Rule"]
