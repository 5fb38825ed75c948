"""Devicetrees: reading them, and what Linux makes of their reserved memory.

:func:`load` reads a ``.dts`` or ``.dtb`` file, :func:`examine` judges it, :func:`reach` tells which memory a
device's DMA can use, :func:`flatten` writes a blob. All errors derive from :class:`DtsError`. The rules and
their findings are described in ``docs/check.md``.
"""

from dts.assumptions import Arch, Assumptions
from dts.blob import flatten, read_blob
from dts.consumer import Consumer
from dts.error import BlobError, DtsError, InputError, NodeError, PropertyError, SourceError, ToolError
from dts.finding import Finding, Severity
from dts.range import Range
from dts.reach import Reach, Window, reach
from dts.region import Kind, Region, State
from dts.source import load
from dts.tree import Node, Tree
from dts.verdict import Verdict, examine

__all__ = [  # noqa: RUF022  from the most to the least used
    "load",
    "read_blob",
    "flatten",
    "examine",
    "reach",
    "Tree",
    "Node",
    "Verdict",
    "Region",
    "State",
    "Kind",
    "Consumer",
    "Reach",
    "Window",
    "Finding",
    "Severity",
    "Assumptions",
    "Arch",
    "Range",
    "DtsError",
    "InputError",
    "BlobError",
    "SourceError",
    "ToolError",
    "PropertyError",
    "NodeError",
]
