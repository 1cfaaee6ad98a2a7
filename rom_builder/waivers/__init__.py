"""Failures that do not count: waivers, which somebody answers for, and baselines, which nobody does.

One function, :func:`rom_builder.waivers.apply.apply`, decides for every report and every exit code.
"""
