"""Everything in a package that can be verified without a device.

A device checks an A/B package in stages, and each stage looks at other bytes: recovery or the
updater at the whole file, update_engine at the payload's two signatures and digests, the bootloader
and dm-verity at what was written. A package is good only if all of them would be satisfied; what a
reference tool forgives is not forgiven here.
"""
