"""What can go wrong in the model, and with which evidence."""

from __future__ import annotations

import errno as errno_names

__all__ = [
    "AllocatorError",
    "AreaError",
    "CmaAllocError",
    "CmaReleaseError",
    "KernelBugError",
    "PageError",
    "PoolError",
    "ReachError",
]


class AllocatorError(Exception):
    """Base of all errors of this package.

    ::

    AllocatorError
        AreaError          the area asked for cannot be set up, or a device has none
        CmaAllocError      cma_alloc failed; carries the kernel's errno
        CmaReleaseError    cma_release was asked for pages that are no allocation of the area
        ReachError         a device cannot address a buffer
        PageError          page data of the wrong size, or a pfn outside memory
        PoolError          the cleancache's backend API refused; carries the kernel's errno
        KernelBugError     the modelled code did what would crash or corrupt a kernel
    """


class AreaError(AllocatorError):
    """An area cannot be set up, or a device has none.

    Usual cause: the devicetree's region was rejected. `gcma check` on the same file says why.
    """


class CmaAllocError(AllocatorError):
    """`cma_alloc` found no pages. `str()` is the line that the kernel logs.

    The wording is that of Linux 7.3, where the request ends in `__cma_alloc_frozen`; 6.12 prints
    `__cma_alloc` in its place.

    errno     positive error number: EBUSY for no free aligned run (6.12 and older: ENOMEM), EINVAL where
              guaranteed CMA refused
    area      name of the area
    count     pages asked for
    """

    def __init__(self, area: str, count: int, errno: int) -> None:
        super().__init__(
            f"cma: __cma_alloc_frozen: {area}: alloc failed, req-size: {count} pages, ret: {-errno}"
        )
        self.area = area
        self.count = count
        self.errno = errno


class CmaReleaseError(AllocatorError):
    """`cma_release` was asked for pages that are not one whole allocation of the area.

    The kernel would warn, or corrupt its accounting in silence; the `safe` revision refuses and changes
    nothing. Usual cause: a buffer released twice, or with another size than it was allocated with.
    """


class ReachError(AllocatorError):
    """A device cannot address a buffer: it ends beyond the device's limit or lies outside its
    `dma-ranges`.
    """


class PageError(AllocatorError, ValueError):
    """Page data of the wrong size, or a pfn outside the memory."""


class PoolError(AllocatorError):
    """A call of the cleancache's backend API failed; `errno` is the positive error number that the kernel
    returns.
    """

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(f"{message} (-{errno_names.errorcode[errno]})")
        self.errno = errno


class KernelBugError(AllocatorError):
    """The modelled revision did what would crash a kernel or corrupt its memory.

    Only the published revisions raise it; see docs/semantics.md for each case.
    """
