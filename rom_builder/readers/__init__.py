"""Facts from a ROM that no mechanism configures: apps, signatures, grants, verified boot."""
