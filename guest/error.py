"""Errors of the guest room.

::

    GuestError
    └── BuildError            the firmware cannot be built
        └── NoCompilerError   no compiler for AArch64 on this machine
"""


class GuestError(Exception):
    """Base of all errors of this package."""


class BuildError(GuestError):
    """The firmware's sources did not compile; the message ends with the compiler's words."""


class NoCompilerError(BuildError):
    """Neither aarch64-linux-gnu-gcc nor clang with lld is on PATH; the message says how to get one."""
