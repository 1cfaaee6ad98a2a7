"""One privacy policy in; signed Android OTA packages and verdicts on any ROM out."""

__version__ = "0.1.0"
