"""Sizes as users write them: 4096, 64K, 16M, 1G, with or without "iB"."""

import re

from allocator.error import AllocatorError

_FORM = re.compile(r"(\d{1,18})(?:\s*([kmgt])(?:i?b)?)?", re.IGNORECASE)


class SizeError(AllocatorError):
    """A size that cannot be read, or is no whole number of pages."""


def parse_size(text: str) -> int:
    """The bytes that `text` means, a multiple of 4 KiB, at least one page and below 2^42.

    :raise SizeError: it means none
    """
    match = _FORM.fullmatch(text.strip())
    size = int(match[1]) << (" kmgt".index((match[2] or " ").lower()) * 10) if match else 0
    if not 0 < size < 1 << 42 or size % 4096:
        raise SizeError(f"size {text!r}: expected a multiple of 4 KiB such as 64M, below 4 TiB")
    return size
