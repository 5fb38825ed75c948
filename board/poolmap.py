"""The pool in words: what a reader of a failure wants to know of it."""

from collections.abc import Iterable
from typing import Final

from allocator import PAGE_SIZE, Buffer, ContiguousArea
from allocator.areamap import as_text
from dts.range import size_text

ROWS: Final = 4
COLUMNS: Final = 64
LISTED_BUFFERS: Final = 16


def pool_map(area: ContiguousArea, buffers: Iterable[Buffer]) -> str:
    """A drawing of the area, address by address, and the buffers that are allocated.

    :param buffers: those whose owners are known; the area may have given out more
    """
    marks = as_text(area, ROWS * COLUMNS)
    cell = area.count * PAGE_SIZE // len(marks)
    base = area.base_pfn * PAGE_SIZE
    lines = [
        f"{area.name}: {size_text(area.count * PAGE_SIZE)} at {base:#x}, "
        f"{area.available_count} of {area.count} pages free or cached",
        f"a mark is {size_text(cell)}: # a device has it, c cached file pages, . free",
    ]
    lines += [
        f"{base + at * area.count // len(marks) * PAGE_SIZE:#012x} {marks[at : at + COLUMNS]}"
        for at in range(0, len(marks), COLUMNS)
    ]
    known = sorted(buffers, key=lambda buffer: buffer.cpu_address)
    lines += [
        f"{each.cpu_address:#012x} {each.count} pages of {each.device}, bus {each.bus_address:#x}"
        for each in known[:LISTED_BUFFERS]
    ]
    if len(known) > LISTED_BUFFERS:
        lines.append(f"... and {len(known) - LISTED_BUFFERS} more buffers")
    return "\n".join(lines)
