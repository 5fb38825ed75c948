"""A reserved region, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dts.range import Range


class Kind(Enum):
    """How a node asks for its memory."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    NONE = "none"


class State(Enum):
    """What the kernel makes of a node of ``/reserved-memory``."""

    ACCEPTED = "accepted"
    """Reserved and set up at its fixed place."""
    DYNAMIC = "dynamic"
    """Will be placed at boot, and set up there."""
    DISABLED = "disabled"
    """Its ``status`` says so."""
    REJECTED = "rejected"
    """Not reserved."""
    FREED = "rejected-freed"
    """Reserved, then given back since the set-up failed: ordinary memory."""
    IGNORED = "ignored"
    """Neither ``reg`` nor ``size``, or the whole of ``/reserved-memory`` is refused."""


class Cause(Enum):
    """Why a node did not become a region; the text names the deciding kernel function."""

    FORMAT = "__reserved_mem_check_root"
    STATUS = "of_fdt_device_is_available"
    NO_MEMORY_ASKED = "fdt_scan_reserved_mem"
    CMDLINE = "__rmem_cma_verify_node"
    STATIC_SIZE_0 = "__reserved_mem_reserve_reg"
    NOMAP_BUSY = "early_init_dt_reserve_memory"
    SIZE_LENGTH = "__reserved_mem_alloc_size (size)"
    ALIGNMENT_LENGTH = "__reserved_mem_alloc_size (alignment)"
    NO_ROOM = "__reserved_mem_alloc_size (memblock)"
    TOO_MANY_DYNAMIC = "fdt_scan_reserved_mem (dynamic_nodes)"
    CMA_MISALIGNED = "rmem_cma_setup"
    CMA_SIZE_0 = "cma_init_reserved_mem"
    CMA_SLOTS = "cma_new_area"
    GCMA_DISABLED = "rmem_cma_setup (GCMA)"
    ARM_NEEDS_NOMAP = "rmem_dma_setup"
    RESTRICTED_FLAGS = "rmem_swiotlb_setup"

    @property
    def function(self) -> str:
        """The kernel function."""
        return self.value.partition(" ")[0]


FLAGS = ("no-map", "reusable", "guaranteed", "linux,cma-default", "linux,dma-default")
"""The flags of a region that are reported when present, in this order."""


@dataclass(frozen=True, slots=True)
class Region:
    """A child of ``/reserved-memory`` and its fate.

    :ivar path: of the node
    :ivar name: with the unit address
    :ivar compatible: the list as written
    :ivar available: whether ``status`` enables it
    :ivar flags: those of :data:`FLAGS` that are present; ``guarantee``, as the posted series spells it,
        counts as ``guaranteed``
    :ivar reg: in root cells, as the kernel reads it; None when absent or of a wrong length
    :ivar size: bytes; None when absent or of a wrong length
    :ivar alignment: bytes; None when absent or of a wrong length (the kernel wants root address cells)
    :ivar alloc_ranges: None when absent or of a wrong length, which the kernel treats alike
    :ivar state: see :class:`State`
    :ivar cause: why it is rejected, ignored or disabled; None else
    :ivar placed: where a dynamic region will lie; None for other regions and when RAM is not known
    :ivar cma: a ``shared-dma-pool`` with ``reusable`` and without ``no-map``
    :ivar guaranteed: asks for guaranteed CMA, and is a CMA area
    :ivar default: it becomes the default CMA area
    """

    path: str
    name: str
    kind: Kind
    state: State
    cause: Cause | None
    available: bool
    compatible: tuple[str, ...]
    flags: tuple[str, ...]
    reg: tuple[Range, ...] | None
    size: int | None
    alignment: int | None
    alloc_ranges: tuple[Range, ...] | None
    placed: Range | None
    cma: bool
    guaranteed: bool
    default: bool

    @property
    def range(self) -> Range | None:
        """Where the region lies: the first entry of ``reg``, or where it is placed; None when not known."""
        if self.kind is Kind.STATIC and self.reg:
            return self.reg[0]
        return self.placed

    @property
    def live(self) -> bool:
        """Whether the region exists once the kernel runs."""
        return self.state in (State.ACCEPTED, State.DYNAMIC)
