"""Pure codecs, one format a file: bytes in, values out, and back. They know no policy.

Every size and offset read from a file is checked before it is used; damage raises
:class:`rom_builder.errors.ImageError` with the byte offset.
"""
