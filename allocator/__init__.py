"""The model: physical memory, contiguous areas, the cleancache above them, and who can reach what.

For those who want to know how an area behaves without booting anything: no QEMU, no root. Begin with
`Cleancache` and `GuaranteedArea` over a `PhysicalMemory`, or let `from_tree` set up what a devicetree
asks for. Errors derive from `AllocatorError`. docs/semantics.md lists the rules and their sources.
"""

from allocator.area import CarveOut, ContiguousArea, SecondClass
from allocator.cleancache import NO_FS, Cleancache
from allocator.cma import CmaArea, CmaEvents, Tenant
from allocator.counters import Counters, PoolCounters
from allocator.device import Buffer, Device
from allocator.error import (
    AllocatorError,
    AreaError,
    CmaAllocError,
    CmaReleaseError,
    KernelBugError,
    PageError,
    PoolError,
    ReachError,
)
from allocator.guaranteed import GuaranteedArea
from allocator.memory import PAGE_SHIFT, PAGE_SIZE, PhysicalMemory
from allocator.model import Model, from_tree
from allocator.revision import REVISIONS, RFC, SAFE, V1, V2, Revision, revision

__all__ = [
    "NO_FS",
    "PAGE_SHIFT",
    "PAGE_SIZE",
    "REVISIONS",
    "RFC",
    "SAFE",
    "V1",
    "V2",
    "AllocatorError",
    "AreaError",
    "Buffer",
    "CarveOut",
    "Cleancache",
    "CmaAllocError",
    "CmaArea",
    "CmaEvents",
    "CmaReleaseError",
    "ContiguousArea",
    "Counters",
    "Device",
    "GuaranteedArea",
    "KernelBugError",
    "Model",
    "PageError",
    "PhysicalMemory",
    "PoolCounters",
    "PoolError",
    "ReachError",
    "Revision",
    "SecondClass",
    "Tenant",
    "from_tree",
    "revision",
]
