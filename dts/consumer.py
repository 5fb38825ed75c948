"""The devices that name reserved regions with ``memory-region``."""

from __future__ import annotations

from dataclasses import dataclass, field

from dts.blob import KERNEL_DEPTH
from dts.error import DtsError
from dts.reach import Buses, Reach, Window
from dts.tree import Node, Tree

MAX_CONSUMERS = 150_000
"""Most devices with ``memory-region`` that are judged; real boards have some dozen."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A node with ``memory-region``.

    :ivar path: of the node
    :ivar regions: paths of the nodes it names, None for a phandle that no node has
    :ivar available: whether it and all above it are enabled, so that a driver may bind to it
    :ivar reach: which memory its DMA reaches
    :ivar node: the node itself
    """

    path: str
    regions: tuple[str | None, ...]
    available: bool
    reach: Reach
    node: Node = field(repr=False, compare=False)

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows of its DMA, empty when no limit is known."""
        return self.reach.windows

    @property
    def cpu_limit(self) -> int | None:
        """Highest CPU address that it reaches, None when no limit is known."""
        return self.reach.cpu_limit

    @property
    def dma_limit(self) -> int | None:
        """Highest bus address that it reaches, None when no limit is known."""
        return self.reach.dma_limit

    @property
    def iommu(self) -> bool:
        """Whether an IOMMU stands between it and the memory, which lifts the limit."""
        return self.reach.iommu


def consumers(tree: Tree, buses: Buses) -> dict[str, Consumer]:
    """Every consumer of the tree by its path, in document order; nodes that the kernel leaves out are none.

    :raise DtsError: more consumers than are judged
    """
    users = []
    stack = [("", tree.root, tree.root.available, 0)]
    while stack:
        path, node, available, depth = stack.pop()
        if "memory-region" in node.properties:
            users.append((path or "/", node, available))
        if depth < KERNEL_DEPTH - 2:
            for child in reversed(node.children):
                if depth == 0 and child.name.startswith("__"):
                    continue  # __local_fixups__ has properties of the same names, which are offsets
                stack.append((f"{path}/{child.name}", child, available and child.available, depth + 1))
    if len(users) > MAX_CONSUMERS:
        raise DtsError(
            f"{tree.name}: at most {MAX_CONSUMERS} nodes should have a memory-region to be judged, "
            f"{len(users)} have; leave some out."
        )
    phandles = tree.phandles() if users else {}
    out: dict[str, Consumer] = {}
    for path, node, available in users:
        if path not in out:
            out[path] = Consumer(path, _targets(node, phandles), available, buses.reach(node), node)
    return out


def _targets(node: Node, phandles: dict[int, Node]) -> tuple[str | None, ...]:
    value = node.properties["memory-region"]
    out: list[str | None] = []
    for at in range(0, len(value) // 4 * 4, 4):
        target = phandles.get(int.from_bytes(value[at : at + 4], "big"))
        out.append(target.path if target is not None else None)
    return tuple(out)
