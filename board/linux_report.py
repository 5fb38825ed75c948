"""What our init prints of a running Linux: files of /proc and /sys that tell of its memory."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from dts import Range
from dts.range import RangeSet

_HEADING: Final = "@@ file "
_END: Final = "@@ gcma off"
_IOMEM: Final = re.compile(r"^( *)([0-9a-f]+)-([0-9a-f]+) : (.*)$")


@dataclass(frozen=True, slots=True)
class LinuxReport:
    """The running system's memory.

    :ivar cma_total_bytes: ``CmaTotal`` of /proc/meminfo
    :ivar zone_cma_pages: CMA pages of all zones, of /proc/zoneinfo
    :ivar areas: pages of each CMA area by its name, of /sys/kernel/mm/cma; empty without CONFIG_CMA_SYSFS
    :ivar system_ram: of /proc/iomem
    :ivar reserved: what of it is reserved, the kernel itself included
    """

    cma_total_bytes: int
    zone_cma_pages: int
    areas: dict[str, int]
    system_ram: RangeSet
    reserved: RangeSet

    def use_of(self, place: Range) -> str:
        """What /proc/iomem says of a range."""
        if not self.system_ram.overlaps(place):
            return "no system RAM"
        return "reserved" if _covers(self.reserved, place) else "in use"


def _covers(ranges: RangeSet, place: Range) -> bool:
    return any(item.holds(place) for item in ranges)


def read_report(text: str) -> LinuxReport:
    """Read what init printed; a file that it did not print counts as empty."""
    files = _files(text)
    meminfo = re.search(r"^CmaTotal: +(\d+) kB", files.get("/proc/meminfo", ""), re.MULTILINE)
    system_ram, reserved = RangeSet(), RangeSet()
    for line in files.get("/proc/iomem", "").splitlines():
        found = _IOMEM.match(line)
        if found is None:
            continue
        base, last = int(found[2], 16), int(found[3], 16)
        if found[4] == "System RAM":
            system_ram.add(Range(base, last + 1 - base))
        elif found[4] in ("reserved", "Kernel code", "Kernel data"):
            reserved.add(Range(base, last + 1 - base))
    return LinuxReport(
        cma_total_bytes=int(meminfo[1]) << 10 if meminfo else 0,
        zone_cma_pages=sum(
            int(pages)
            for pages in re.findall(r"^ +cma +(\d+)$", files.get("/proc/zoneinfo", ""), re.MULTILINE)
        ),
        areas={
            PurePosixPath(path).parent.name: int(content)
            for path, content in files.items()
            if path.startswith("/sys/kernel/mm/cma/")
            and path.endswith("/total_pages")
            and content.strip().isdigit()
        },
        system_ram=system_ram,
        reserved=reserved,
    )


def _files(text: str) -> dict[str, str]:
    """The files by path: each begins behind a heading, and ends at the next."""
    out: dict[str, str] = {}
    for part in text.split(_HEADING)[1:]:
        path, _, content = part.partition("\n")
        out[path.strip()] = content.partition(_END)[0]
    return out
