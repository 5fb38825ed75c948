"""Compares the verdict on a tree with what Linux made of it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from board.linux import LinuxPlan
from board.linux_log import Fate, LinuxLog
from board.linux_report import LinuxReport
from dts import Range, Region, Severity, State, Verdict
from dts.assumptions import cma_areas
from dts.reach import zone_dma_last
from dts.region import Cause

_FATES: Final = {
    State.ACCEPTED: Fate.PRESENT,
    State.DYNAMIC: Fate.PRESENT,
    State.REJECTED: Fate.REFUSED,
    State.FREED: Fate.FREED,
    State.IGNORED: Fate.ABSENT,
    State.DISABLED: Fate.ABSENT,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that both sides told.

    :ivar subject: a node's path, or what else it is about
    :ivar ours: what the verdict says
    :ivar linux: what Linux says
    :ivar why: the reason of a known difference
    """

    subject: str
    ours: str
    linux: str
    agree: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    """A difference between the kernel that the verdict follows (7.3, everything built in) and others."""

    applies: Callable[[Region, Fate, LinuxLog], bool]
    why: str


def _older(log: LinuxLog) -> bool:
    """Whether it is a 6.x kernel, of which 6.12 was looked at."""
    return log.release.startswith("6.")


_KNOWN: Final = (
    _Known(
        lambda region, fate, log: (
            _older(log) and {"no-map", "reusable"} <= set(region.flags) and fate is Fate.FREED
        ),
        "6.12 gives a pool with reusable and no-map back; 7.3 keeps it, unmapped and without CMA",
    ),
    _Known(
        lambda region, fate, log: (
            _older(log)
            and "shared-dma-pool" in region.compatible
            and region.reg is None
            and region.name.find("@") > 0
            and fate is Fate.ABSENT
        ),
        "6.12 skips a node whose reg has a wrong length; 7.3 goes on to its size",
    ),
    _Known(
        lambda region, fate, log: _older(log) and region.alloc_ranges is None and fate is Fate.REFUSED,
        "6.12 refuses a node whose alloc-ranges have a wrong length; 7.3 takes them for absent",
    ),
    _Known(
        lambda region, fate, log: (
            "restricted-dma-pool" in region.compatible
            and region.state is State.FREED
            and fate is Fate.PRESENT
        ),
        "this kernel is built without CONFIG_DMA_RESTRICTED_POOL, so no driver looks at the flags",
    ),
)


def compare_early(plan: LinuxPlan, verdict: Verdict, log: LinuxLog) -> Iterator[Row]:
    """What can be compared once the kernel has set up its zones."""
    if not verdict.regions:
        seen = ", ".join(log.listed) or "no region"
        yield Row("/reserved-memory", "no region", seen, not log.listed)
    for region in verdict.regions.values():
        yield _region(region, log)
    yield _default_area(plan, verdict, log)
    if verdict.overlaps or log.overlaps:
        yield _overlaps(verdict, log)
    yield _zone(plan, log)


def compare_late(verdict: Verdict, log: LinuxLog, report: LinuxReport) -> Iterator[Row]:
    """What the first process of the running system sees."""
    pools = [region for region in verdict.regions.values() if region.cma and region.live and region.range]
    inactive = {finding.node for finding in verdict.findings if finding.code == "zone-crossing"}
    total = sum(region.range.size for region in pools if region.range and region.path not in inactive)
    total += log.default_area.size if log.default_area else 0
    kib = f"{total >> 10} KiB"
    yield _same("CmaTotal", kib, f"{report.cma_total_bytes >> 10} KiB")
    yield _same("CMA pages of all zones", str(total >> 12), str(report.zone_cma_pages))
    for region in pools:
        assert region.range is not None
        seen = report.areas.get(region.name)
        if seen is not None:  # 6.12 of Debian has no CONFIG_CMA_SYSFS
            ours = f"{region.range.size >> 12} pages"
            yield _same(f"/sys/kernel/mm/cma/{region.name}", ours, f"{seen} pages")
    for region in verdict.regions.values():
        if region.live and region.range is not None:
            mapped = "no-map" not in region.flags
            ours = "reserved" if mapped else "no system RAM"
            yield _same(f"/proc/iomem at {region.range}", ours, report.use_of(region.range))


def compare_panic(verdict: Verdict, log: str) -> Row:
    """A kernel that does not survive the tree: the verdict must have a warning at least."""
    found = re.search(r"(?:Unable to handle|kernel BUG|Kernel panic)[^\n]*", log)
    words = f"panicked: {found[0].strip()}" if found else "panicked"
    codes = {finding.code for finding in verdict.findings if finding.severity is not Severity.NOTE}
    why = "" if "Failed to allocate" not in words else (
        "the regions leave the kernel too little memory; the rules do not know how much it needs"
    )  # fmt: skip
    return Row("boot", ", ".join(sorted(codes)) or "sound", words, bool(codes), "" if codes else why)


def _same(subject: str, ours: str, linux: str) -> Row:
    return Row(subject, ours, linux, ours == linux)


def _region(region: Region, log: LinuxLog) -> Row:
    fate = log.fate(region.name)
    listed = log.listed.get(region.name)
    ours, linux = region.state.value, fate.value
    agree = fate is _FATES[region.state]
    if region.cause is Cause.CMDLINE:
        agree = fate is not Fate.PRESENT  # 6.12 names the node that gives way to cma=, 7.3 does not
    if region.live:
        ours += f" at {region.range}, {_kind(region.cma, 'no-map' not in region.flags)}"
    if fate is Fate.PRESENT and listed is not None:
        linux += f" at {listed.place}, {_kind(listed.place.base in log.pools, listed.mapped)}"
        agree &= ours.partition(" at ")[2] == linux.partition(" at ")[2]
    row = Row(region.path, ours, linux, agree)
    if agree:
        return row
    return replace(row, why=next((item.why for item in _KNOWN if item.applies(region, fate, log)), ""))


def _kind(cma: bool, mapped: bool) -> str:
    return ("CMA" if cma else "no CMA") + ("" if mapped else ", not mapped")


def _default_area(plan: LinuxPlan, verdict: Verdict, log: LinuxLog) -> Row:
    """The kernel makes an area of its own when no node is the default one and a slot is left."""
    pools = [region for region in verdict.regions.values() if region.cma and region.live]
    linux = f"the kernel's own at {log.default_area}" if log.default_area else "none of the kernel's own"
    if any(region.default for region in pools):
        return Row("default CMA area", "a node's", linux, log.default_area is None)
    if len(pools) >= cma_areas(plan.assumptions(), verdict.arch):
        return Row("default CMA area", "none, no slot is left", linux, log.default_area is None)
    return Row("default CMA area", "the kernel's own", linux, log.default_area is not None)


def _overlaps(verdict: Verdict, log: LinuxLog) -> Row:
    """The kernel compares neighbours only, so each of its pairs must be one of ours, and some of ours its."""
    ours = {
        frozenset((verdict.regions[first].range, verdict.regions[second].range))
        for first, second in verdict.overlaps
    }
    linux = {frozenset(pair) for pair in log.overlaps}
    agree = linux <= ours and bool(linux) == bool(ours)
    row = Row("overlaps", f"{len(ours)} among all", f"{len(linux)} among neighbours", agree)
    if not agree and _older(log) and log.freed:
        why = "6.12 keeps a region that it gave back in its list, and another got the same place"
        return replace(row, why=why)
    return row


def _zone(plan: LinuxPlan, log: LinuxLog) -> Row:
    """Where ZONE_DMA ends: at the narrowest bus's last address, or where RAM does."""
    last = zone_dma_last(plan.tree)
    limit = 1 << 32 if last is None else min(last + 1, 1 << 32)
    ours = min(limit, max(bank.end for bank in plan.memory))
    zone = log.zones.get("DMA", Range(0, 0))
    return _same("end of ZONE_DMA", f"{ours:#x}", f"{zone.end:#x}")
