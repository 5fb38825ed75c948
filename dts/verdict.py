"""The verdict on a devicetree: what each region and each of its users will get."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dts.assumptions import Arch, Assumptions
from dts.blob import KERNEL_DEPTH
from dts.consumer import Consumer, consumers
from dts.finding import Finding, Severity
from dts.range import Range
from dts.reach import Buses
from dts.region import Cause, Region, State
from dts.reserved import declared_memory, region_nodes, scan
from dts.rule import Case
from dts.rules import CHECKS, OVERLAY_CHECKS
from dts.tree import Tree

MAX_OVERLAPS = 10_000
"""Most pairs of overlapping regions that are listed: n regions can overlap in n squared pairs."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Linux makes of a tree.

    :ivar arch: the architecture that was assumed
    :ivar memory: RAM: as assumed, else as declared; empty when not known
    :ivar memreserve: the entries of ``/memreserve/``
    :ivar regions: by path, in document order
    :ivar consumers: nodes with ``memory-region`` by path, in document order
    :ivar zone_dma_last: highest CPU address that every bus reaches, where ZONE_DMA of arm64 ends; None
        without any limit
    :ivar overlaps: paths of each pair of regions that share memory, lower base first
    :ivar findings: by place in the tree
    """

    arch: Arch
    memory: tuple[Range, ...]
    memreserve: tuple[Range, ...]
    regions: dict[str, Region]
    consumers: dict[str, Consumer]
    zone_dma_last: int | None
    overlaps: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)


def examine(tree: Tree, assumptions: Assumptions | None = None) -> Verdict:
    """Judge a tree as Linux 7.3 would, without running it."""
    assumed = assumptions or Assumptions()
    memory = declared_memory(tree) if assumed.memory is None else assumed.memory
    regions = scan(tree, assumed, memory)
    buses = Buses(tree)
    pairs = overlapping(regions.values())
    case = Case(
        tree=tree,
        assumptions=assumed,
        arch=assumed.arch_for(tree),
        memory=memory,
        regions=regions,
        nodes=region_nodes(tree),
        consumers=consumers(tree, buses),
        zone_dma_last=buses.zone_dma_last(),
        overlaps=pairs,
    )
    for check in OVERLAY_CHECKS if tree.is_overlay else CHECKS:
        check(case)
    return Verdict(
        arch=case.arch,
        memory=memory,
        memreserve=tree.memreserve,
        regions=regions,
        consumers=case.consumers,
        zone_dma_last=case.zone_dma_last,
        overlaps=tuple((first.path, second.path) for first, second in pairs),
        findings=tuple(in_document_order(tree, case.every_finding())),
    )


def in_document_order(tree: Tree, findings: Iterable[Finding]) -> list[Finding]:
    """The findings by their node's place in the tree, within a node by the property's."""
    found = list(findings)
    if not found:
        return found
    wanted = {finding.node for finding in found}
    order: dict[str, tuple[int, dict[str | None, int]]] = {}
    for index, (path, node) in enumerate(tree.paths(KERNEL_DEPTH)):
        if path in wanted and path not in order:
            order[path] = index, {name: at for at, name in enumerate(node.properties)}

    def place(finding: Finding) -> tuple[int, int]:
        index, properties = order.get(finding.node, (0, {}))
        return index, properties.get(finding.prop, -1)

    return sorted(found, key=place)


def overlapping(regions: Iterable[Region]) -> list[tuple[Region, Region]]:
    """All pairs of regions that share memory, not only neighbours as the kernel compares.

    Regions that the kernel never reserves have no part in it; one that it frees again has, for what it frees
    is the other's memory, too.
    """
    placed = [
        (region.range, region)
        for region in regions
        if region.range is not None
        and region.state not in (State.DISABLED, State.IGNORED)
        and region.cause is not Cause.CMDLINE
    ]
    placed = sorted(((place, region) for place, region in placed if place.size), key=lambda item: item[0])
    out: list[tuple[Region, Region]] = []
    open_regions: list[tuple[Range, Region]] = []
    for place, region in placed:
        open_regions = [item for item in open_regions if item[0].end > place.base]
        out += [(other, region) for _, other in open_regions[: MAX_OVERLAPS - len(out)]]
        open_regions.append((place, region))
        if len(out) >= MAX_OVERLAPS:
            break
    return out
