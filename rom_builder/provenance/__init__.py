"""Where a package came from and what it consists of: signed statements, bills of materials."""
