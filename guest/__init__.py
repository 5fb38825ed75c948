"""What runs inside the emulated board, and how the host talks to it.

- :mod:`guest.protocol`: the doorbell page, the one definition both sides use.
- :mod:`guest.pattern`: the bytes both sides expect in buffers and camera frames.
- :mod:`guest.build`: compiles ``guest/firmware/`` into an arm64 Image, cached by content.

The firmware itself is C and a little assembly in ``guest/firmware/``; its README says
how it boots, talks and reports. Errors derive from :class:`GuestError`.
"""

from guest.error import BuildError, GuestError, NoCompilerError

__all__ = ["BuildError", "GuestError", "NoCompilerError"]
