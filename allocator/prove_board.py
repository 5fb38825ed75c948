"""The buffers that the devices of a tree declare, as problems to decide.

A device node may say which contiguous buffers its driver holds, at most, at the same time::

    csi@7e801000 {
        memory-region = <&gcma>;
        gcma,buffers = <4 0x1283000 0>,      /* count, size in bytes, alignment in bytes */
                       <2 0x7e9000 0>;
        gcma,buffer-names = "raw", "preview";
    };

Alignment 0 is what `dma_alloc_contiguous` asks for: the size rounded up to a power of two, at most 1 MiB.
The area and the device's reach follow from the tree, by the kernel's rules.
"""

from __future__ import annotations

from allocator.area import ContiguousArea
from allocator.device import Device
from allocator.error import AllocatorError
from allocator.memory import PAGE_SHIFT, PAGE_SIZE
from allocator.model import CMA_ALIGNMENT, Model, from_tree
from allocator.prove import Demand, Problem
from dts import Node, Tree, Verdict

__all__ = ["BUFFERS", "NAMES", "DeclarationError", "problems"]

BUFFERS = "gcma,buffers"
NAMES = "gcma,buffer-names"


class DeclarationError(AllocatorError):
    """A device's declaration of its buffers cannot be understood."""


def problems(tree: Tree, verdict: Verdict) -> tuple[list[Problem], list[str]]:
    """One problem for each area that declared buffers come from, and a sentence for each device left out.

    Raises DeclarationError, AreaError when a device names an area that is none, dts.DtsError for a bad
    property.
    """
    model = from_tree(tree, verdict, memory=None)
    demands: dict[str, list[Demand]] = {}
    notes: list[str] = []
    for node in tree.walk():
        if BUFFERS not in node.properties or not node.available:
            continue
        path = node.path
        device = model.device(path)
        area = model.area_of(path)
        if device.reach.iommu:
            notes.append(
                f"{path}: sits behind an MMU and takes scattered pages, so its buffers cannot fail here."
            )
            continue
        if area is None:
            raise DeclarationError(
                f"{path}: {BUFFERS} is declared, but the device has no memory-region and there is no default "
                "area: give it one"
            )
        for demand in _demands(node, device, area):
            if device.region is None and demand.pages == 1:
                notes.append(f"{path}: requests of one page bypass the default area.")
                continue
            where = next(at for at, each in model.areas.items() if each is area)
            demands.setdefault(where, []).append(demand)
    return [_problem(model, where, found) for where, found in demands.items()], notes


def _problem(model: Model, where: str, demands: list[Demand]) -> Problem:
    area = model.areas[where]
    return Problem(where, area.base_pfn, area.count, tuple(demands))


def _demands(node: Node, device: Device, area: ContiguousArea) -> list[Demand]:
    triples = node.numbers(BUFFERS, 1, 1, 1)
    names = node.strings(NAMES) if NAMES in node.properties else tuple(str(k) for k in range(len(triples)))
    if len(names) != len(triples):
        raise DeclarationError(
            f"{node.path}: {NAMES} has {len(names)} names for {len(triples)} kinds of buffers: "
            "give each a name"
        )
    found = []
    for name, (count, size, alignment) in zip(names, triples, strict=True):
        if not count or not size:
            raise DeclarationError(
                f"{node.path}: {BUFFERS} declares {count} buffers of {size} bytes: "
                "expected at least 1 of each"
            )
        if alignment & (alignment - 1):
            raise DeclarationError(
                f"{node.path}: {BUFFERS} asks for an alignment of {alignment:#x}: "
                "expected 0 or a power of two"
            )
        pages = -(-size // PAGE_SIZE)
        if alignment:
            order = max(0, alignment.bit_length() - 1 - PAGE_SHIFT)
        else:
            order = min((pages - 1).bit_length(), CMA_ALIGNMENT)
        found.append(Demand(f"{node.base_name}/{name}", count, pages, order, _limit(device, area)))
    return found


def _limit(device: Device, area: ContiguousArea) -> int | None:
    """How many pages of the area, from its base, the device reaches; None for all."""
    if not device.reach.windows:
        return None
    base = area.base_pfn << PAGE_SHIFT
    for window in device.reach.windows:
        if window.cpu <= base < window.cpu + window.size:
            pages = (window.cpu + window.size - base) >> PAGE_SHIFT
            return None if pages >= area.count else pages
    return 0
