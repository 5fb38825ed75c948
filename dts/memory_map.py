"""A drawing of physical memory: banks, reservations, pools, and the lines that devices cannot cross."""

from __future__ import annotations

from collections.abc import Iterator

from dts.range import Range, RangeSet, size_text
from dts.region import Region, State
from dts.verdict import Verdict

GIB = 1 << 30
_ROWS = 120
_NAMES = 4


def memory_map(verdict: Verdict) -> Iterator[str]:
    """The map, line by line, from address 0 upwards; nothing when there is nothing to show.

    Bars: ``:`` RAM, ``#`` a CMA area, ``=`` another reservation in RAM, ``-`` one elsewhere, blank no RAM.
    """
    ram = RangeSet(verdict.memory)
    waiting = [
        (place, region) for region in verdict.regions.values() if region.live and (place := region.range)
    ]
    waiting.sort(key=lambda item: item[0], reverse=True)
    spots = [*verdict.memory, *verdict.memreserve, *(place for place, _ in waiting)]
    if not spots:
        yield from _unplaced(verdict)
        return
    top = max(item.end for item in spots)
    lines = _lines(verdict, top)
    edges = {edge for item in spots for edge in (item.base, item.end)} | set(lines)
    cuts = sorted(edges)
    width = max(len(f"{cuts[-1]:#x}"), 10)
    rows = 0
    inside: list[tuple[Range, Region]] = []
    for start, end in zip(cuts, [*cuts[1:], 0], strict=True):
        if start in lines:
            yield f"  {'-' * width} {lines[start]}"
        if not end:
            yield f"  {start:#0{width}x}"
            break
        here = Range(start, end - start)
        inside = [item for item in inside if item[0].end > start]
        while waiting and waiting[-1][0].base < end:
            inside.append(waiting.pop())
        reserved = any(item.overlaps(here) for item in verdict.memreserve)
        if not inside and not reserved and not ram.overlaps(here) and (start == 0 or end == cuts[-1]):
            continue
        rows += 1
        if rows > _ROWS:
            yield f"  ... more than {_ROWS} ranges"
            break
        in_ram = ram.overlaps(here)
        label = _label(inside, reserved, here) or ("RAM" if in_ram else "no RAM" if verdict.memory else "")
        bar = _bar(inside, reserved, in_ram)
        yield f"  {start:#0{width}x} {bar} {size_text(here.size):>10}  {label}".rstrip()
    yield from _unplaced(verdict)


def _bar(inside: list[tuple[Range, Region]], reserved: bool, in_ram: bool) -> str:
    if any(region.cma for _, region in inside):
        return "####"
    if inside or reserved:
        return "====" if in_ram else "----"
    return "::::" if in_ram else "    "


def _label(inside: list[tuple[Range, Region]], reserved: bool, here: Range) -> str:
    parts = ["/memreserve/"] if reserved else []
    for place, region in inside[:_NAMES]:
        words = [_kind(region)]
        if region.default:
            words.append("default")
        if region.placed is not None:
            words.append("placed at boot")
        if place != here:
            words.append(f"{place}")
        parts.append(f"{region.name} ({', '.join(words)})")
    if len(inside) > _NAMES:
        parts.append(f"{len(inside) - _NAMES} more")
    return " + ".join(parts)


def _kind(region: Region) -> str:
    if region.cma:
        return "guaranteed CMA" if region.guaranteed else "CMA"
    return "no-map" if "no-map" in region.flags else "reserved"


def _lines(verdict: Verdict, top: int) -> dict[int, str]:
    """Where reach or a zone ends, inside of what is drawn."""
    notes: dict[int, list[str]] = {}
    for edge, name in ((GIB, "1 GiB"), (4 * GIB, "4 GiB")):
        if edge <= top:
            notes[edge] = [name]
    users: dict[int, list[str]] = {}
    for consumer in verdict.consumers.values():
        if consumer.available and not consumer.iommu and consumer.cpu_limit is not None:
            users.setdefault(consumer.cpu_limit + 1, []).append(consumer.node.name)
    last = verdict.zone_dma_last
    if last is not None and 0 < last + 1 < min(top, 4 * GIB):
        notes.setdefault(last + 1, []).append("ZONE_DMA ends")
    for edge, names in users.items():
        if 0 < edge <= top:
            more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
            notes.setdefault(edge, []).append(f"{', '.join(names[:_NAMES])}{more} reach no further")
    return {edge: "; ".join(words) for edge, words in notes.items()}


def _unplaced(verdict: Verdict) -> Iterator[str]:
    """Dynamic regions whose place is not known."""
    for region in verdict.regions.values():
        if region.state is State.DYNAMIC and region.placed is None:
            where = ", ".join(str(item) for item in region.alloc_ranges or ()) or "free RAM"
            size = size_text(region.size or 0)
            yield f"  {region.name}: {size}, placed at boot in {where}"
