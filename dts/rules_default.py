"""Rules about the default CMA area: linux,cma-default."""

from __future__ import annotations

from dts.assumptions import Arch
from dts.finding import Severity
from dts.region import Cause, Kind
from dts.rule import Case, Rule

DEFAULT_CMDLINE = Rule(
    "default-cmdline",
    Severity.WARNING,
    "linux,cma-default gives way to cma= on the command line",
    "__rmem_cma_verify_node",
    "S1, P4, G3",
    "With cma= of whatever value, also cma=0, the kernel neither reserves nor places this region. The area "
    "that cma= makes is never a guaranteed one.",
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };  /* cma=64M '
    "*/",
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };  /* no cma= '
    "*/",
)
TWO_DEFAULTS = Rule(
    "two-defaults",
    Severity.ERROR,
    "more than one default CMA area",
    "rmem_cma_setup",
    "P5, D9",
    "Each is created and the last one set up becomes the default, with no line in the log; dynamic areas "
    "are set up first, in document order, then static ones.",
    'a { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };\n'
    'b { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };',
    'a { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };\n'
    'b { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
DEFAULT_STATIC = Rule(
    "default-static",
    Severity.WARNING,
    "a static default area comes too late on 32-bit arm",
    "dma_contiguous_reserve",
    "S7, P6",
    "Static regions are set up when the tree is unflattened. On 32-bit arm this is after the kernel has "
    "made its own default area of CONFIG_CMA_SIZE_MBYTES: both exist, and memory is lost to the first. A "
    "dynamic area is set up in time; on arm64 both are.",
    'pool@20000000 { compatible = "shared-dma-pool"; reusable; linux,cma-default; reg = <0x20000000 '
    "0x400000>; };",
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };',
)
DEFAULT_UNUSED = Rule(
    "default-unused",
    Severity.WARNING,
    "linux,cma-default on a region that is no CMA area",
    "rmem_cma_setup",
    "P1",
    "Only a shared-dma-pool with reusable and without no-map can be the default CMA area; elsewhere "
    "nothing reads the flag, and the kernel makes its own default area.",
    'pool { compatible = "shared-dma-pool"; linux,cma-default; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x400000>; };',
)

RULES = (
    DEFAULT_CMDLINE,
    TWO_DEFAULTS,
    DEFAULT_STATIC,
    DEFAULT_UNUSED,
)


def defaults(case: Case) -> None:
    """The default area."""
    rivals = []
    chosen = case.tree.find("/chosen")
    line = chosen.properties.get("bootargs", b"") if chosen is not None else b""
    words = line.partition(b"\0")[0].decode("latin-1").split()
    bootargs = next((word for word in words if word.startswith("cma=")), None)
    for node, region in case.live_regions():
        if not node.flag("linux,cma-default"):
            continue
        if region.cause is Cause.CMDLINE:
            lost = " and its guarantee" if region.guaranteed else ""
            case.report(
                DEFAULT_CMDLINE,
                region.path,
                f"{region.name}: cma= is on the command line, so the kernel skips this default area{lost}",
                "leave cma= out, or linux,cma-default",
                prop="linux,cma-default",
            )
        elif region.cma and region.live:
            rivals.append(region)
            if bootargs:
                case.report(
                    DEFAULT_CMDLINE,
                    region.path,
                    f"{region.name}: bootargs in /chosen has {bootargs}, so the kernel skips this default "
                    "area unless the firmware gives another command line",
                    "leave cma= out of bootargs, or linux,cma-default",
                    prop="linux,cma-default",
                )
        elif not region.cma and node.is_compatible("shared-dma-pool") and region.live:
            case.report(
                DEFAULT_UNUSED,
                region.path,
                f"{region.name}: linux,cma-default has no effect, since the region is no CMA area",
                "add reusable and leave out no-map, or leave out linux,cma-default",
                prop="linux,cma-default",
            )
    winner = next((region for region in rivals if region.default), None)
    for region in rivals:
        if winner is not None and region is not winner:
            case.report(
                TWO_DEFAULTS,
                region.path,
                f"{region.name}: linux,cma-default is also on {winner.name}, which is set up later and "
                "becomes the default",
                "keep the flag on one region",
                prop="linux,cma-default",
            )
    if winner is not None and winner.kind is Kind.STATIC and case.arch is Arch.ARM:
        case.report(
            DEFAULT_STATIC,
            winner.path,
            f"{winner.name}: a default area with reg is set up after 32-bit arm has made its own, so there "
            "will be two",
            "give it a size and alloc-ranges instead of reg",
            prop="reg",
        )


CHECKS = (defaults,)
