"""What Linux says about reserved memory while it boots.

All of it comes in the first quarter of a second, before the kernel prints its command line.
The sentences are those of Linux 6.12 to 7.3 (drivers/of/of_reserved_mem.c, kernel/dma, mm/cma.c).
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dts import Range

DONE: Final = b"Kernel command line: "
"""Behind this line nothing new is said about reserved memory, unless the kernel panics of it."""

_HEX: Final = r"(0x[0-9a-f]+)"
_LISTED: Final = re.compile(
    rf"OF: reserved mem: {_HEX}\.\.{_HEX} \(\d+ KiB\) (map|nomap) (?:non-)?reusable (\S+)"
)
_CMA: Final = re.compile(rf"Reserved memory: created CMA memory pool at {_HEX}, size")
_DEFAULT: Final = re.compile(rf"cma: Reserved (\d+) MiB at {_HEX}")
_REFUSED: Final = re.compile(
    r"Reserved memory: failed to reserve memory for node '(?P<reserve>[^']+)'"
    r"|OF: reserved mem: failed to allocate memory for node '(?P<allocate>[^']+)'"
    r"|OF: reserved mem: invalid (?:size|alignment|alloc-ranges) property in '(?P<property>[^']+)'"
)
_SET_UP_FAILED: Final = re.compile(r"OF: reserved mem: node (\S+) compatible matching fail")
_BYPASSED: Final = re.compile(r"Reserved memory: bypass (\S+) node, using cmdline CMA params instead")
_OVERLAP: Final = re.compile(rf"^\S+ \({_HEX}--{_HEX}\) overlaps with \S+ \({_HEX}--{_HEX}\)")
_ZONE: Final = re.compile(r"  (DMA|DMA32|Normal) +\[mem (0x[0-9a-f]+)-(0x[0-9a-f]+)\]")
_RELEASE: Final = re.compile(r"Linux version (\S+)")
_STAMP: Final = re.compile(r"^\[ *\d+\.\d+\](?:\[[^]]*\])? ?")
_NO_FORMAT: Final = "Reserved memory: unsupported node format, ignoring"


class Fate(Enum):
    """What Linux says became of a node of ``/reserved-memory``."""

    PRESENT = "present"
    REFUSED = "refused"
    FREED = "given back"
    ABSENT = "not mentioned"


@dataclass(frozen=True, slots=True)
class Listed:
    """A region as the kernel lists it."""

    place: Range
    mapped: bool


@dataclass(frozen=True, slots=True)
class LinuxLog:
    """The kernel's words, read.

    :ivar release: the kernel's; empty when it has not told
    :ivar listed: regions by the node's name; of two with one name the last
    :ivar refused: names of nodes that got no memory
    :ivar freed: names of nodes whose set-up failed
    :ivar pools: base addresses of the CMA areas made of nodes
    :ivar ignored: whether it would not read ``/reserved-memory`` at all
    :ivar default_area: the area that the kernel made by itself, for want of a default one
    :ivar overlaps: pairs of ranges that the kernel found to overlap
    :ivar zones: by name
    """

    release: str
    listed: dict[str, Listed]
    refused: frozenset[str]
    freed: frozenset[str]
    pools: frozenset[int]
    ignored: bool
    default_area: Range | None
    overlaps: tuple[tuple[Range, Range], ...]
    zones: dict[str, Range]

    def fate(self, name: str) -> Fate:
        """What became of the node of this name."""
        if name in self.refused:
            return Fate.REFUSED  # a refused hole is listed all the same
        if name in self.freed:
            return Fate.FREED
        return Fate.PRESENT if name in self.listed else Fate.ABSENT


def read_log(text: str) -> LinuxLog:
    """Read the kernel's messages; lines that tell nothing of reserved memory are skipped."""
    lines = [_STAMP.sub("", line) for line in text.splitlines()]
    listed: dict[str, Listed] = {}
    refused, freed = set(), set()
    pools = set()
    overlaps = []
    zones = {}
    default = None
    release = ""
    for line in lines:
        if found := _LISTED.search(line):
            base, last = int(found[1], 16), int(found[2], 16)
            listed[found[4]] = Listed(Range(base, last + 1 - base), found[3] == "map")
        elif found := _CMA.search(line):
            pools.add(int(found[1], 16))
        elif found := _REFUSED.search(line):
            refused.add(found[found.lastgroup or 0])
        elif found := _SET_UP_FAILED.search(line):
            freed.add(found[1])
        elif found := _BYPASSED.search(line):
            refused.add(found[1])
        elif found := _DEFAULT.search(line):
            default = Range(int(found[2], 16), int(found[1]) << 20)
        elif found := _OVERLAP.search(line):
            first, first_end, second, second_end = (int(word, 16) for word in found.groups())
            overlaps.append((Range(first, first_end - first), Range(second, second_end - second)))
        elif found := _ZONE.search(line):
            base, last = int(found[2], 16), int(found[3], 16)
            zones[found[1]] = Range(base, last + 1 - base)
        elif not release and (found := _RELEASE.search(line)):
            release = found[1]
    return LinuxLog(
        release=release,
        listed=listed,
        refused=frozenset(refused),
        freed=frozenset(freed),
        pools=frozenset(pools),
        ignored=any(_NO_FORMAT in line for line in lines),
        default_area=default,
        overlaps=tuple(overlaps),
        zones=zones,
    )
