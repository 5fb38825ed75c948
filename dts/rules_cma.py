"""Rules about the set-up of CMA areas and coherent pools."""

from __future__ import annotations

from dts.assumptions import cma_areas
from dts.finding import Severity
from dts.range import size_text
from dts.region import Cause, Kind, Region
from dts.rule import Case, Rule, cells_text, plural

CMA_NAME_BYTES = 64  # CMA_MAX_NAME, with the terminating NUL

CMA_ALIGNMENT = Rule(
    "cma-alignment",
    Severity.ERROR,
    "a static CMA area does not lie on the pageblock grid",
    "rmem_cma_setup",
    "S6",
    "Base and size of a CMA area must be multiples of one pageblock (2 MiB on arm64 with 4 KiB pages). The "
    'kernel reserves the region, refuses to set it up ("incorrect alignment of CMA region") and frees it '
    "again: it becomes ordinary memory, and its users fall back to the default area.",
    'pool@20100000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x20100000 0x400000>; };',
    'pool@20000000 { compatible = "shared-dma-pool"; reusable; reg = <0x0 0x20000000 0x400000>; };',
)
CMA_SIZE = Rule(
    "cma-size",
    Severity.ERROR,
    "the size of a dynamic CMA area is not a multiple of a pageblock",
    "rmem_cma_setup",
    "D4",
    "The kernel raises the alignment of a CMA area but does not round its size: the memory is found, the "
    'set-up fails ("incorrect alignment of CMA region"), and the memory is freed.',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x500000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x600000>; };',
)
CMA_SIZE_ZERO = Rule(
    "cma-size-zero",
    Severity.ERROR,
    "a CMA area of size 0",
    "cma_init_reserved_mem",
    "P8",
    'The set-up fails with "unable to setup CMA region". The same answer meets a range that is not reserved.',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x0>; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
CMA_SLOTS = Rule(
    "cma-slots",
    Severity.ERROR,
    "more CMA areas than the kernel has slots",
    "cma_new_area",
    "P7, P10",
    "CONFIG_CMA_AREAS is 20 with NUMA (arm64) and 8 without; dynamic areas take slots first, in document "
    'order, then static ones. The log has "Not enough slots for CMA reserved regions!", and the memory is '
    "freed. The list of dma-buf heaps is as long and cannot overflow before.",
    '21 nodes with compatible = "shared-dma-pool" and reusable',
    "20 of them, or a kernel with a larger CONFIG_CMA_AREAS",
)
CMA_NAME = Rule(
    "cma-name",
    Severity.NOTE,
    "the name of a CMA area is cut",
    "cma_new_area",
    "P7",
    f"An area is called after its node; the kernel keeps {CMA_NAME_BYTES - 1} letters, and sysfs and the "
    "log show those.",
    "a-pool-with-a-name-of-more-than-sixty-three-letters-which-are-too-many { ... };",
    "pool { ... };",
)
COHERENT_MAPPED = Rule(
    "coherent-mapped",
    Severity.ERROR,
    "a coherent pool without no-map on 32-bit arm",
    "rmem_dma_setup",
    "P3",
    "A shared-dma-pool without reusable is a pool of coherent memory. 32-bit arm cannot map such memory "
    'twice and demands no-map ("regions without no-map are not yet supported"); the memory is freed. On '
    "arm64 it is accepted.",
    'pool { compatible = "shared-dma-pool"; size = <0x400000>; };  /* on arm */',
    'pool { compatible = "shared-dma-pool"; no-map; size = <0x400000>; };',
)

RULES = (
    CMA_ALIGNMENT,
    CMA_SIZE,
    CMA_SIZE_ZERO,
    CMA_SLOTS,
    CMA_NAME,
    COHERENT_MAPPED,
)


def set_up(case: Case) -> None:
    """What makes the set-up of an area fail."""
    for _, region in case.live_regions():
        if region.cause is Cause.CMA_MISALIGNED:
            _misaligned(case, region)
        elif region.cause is Cause.CMA_SIZE_0:
            case.report(
                CMA_SIZE_ZERO,
                region.path,
                f"{region.name}: a CMA area of size 0 cannot be set up",
                "write its size",
                prop="size",
            )
        elif region.cause is Cause.CMA_SLOTS:
            slots = cma_areas(case.assumptions, case.arch)
            case.report(
                CMA_SLOTS,
                region.path,
                f"{region.name}: the kernel has {plural(slots, 'slot')} for CMA areas, all are taken, and "
                "it frees this one",
                "use fewer areas, or a kernel with a larger CONFIG_CMA_AREAS",
            )
        elif region.cause is Cause.ARM_NEEDS_NOMAP:
            case.report(
                COHERENT_MAPPED,
                region.path,
                f"{region.name}: on 32-bit arm a shared-dma-pool without reusable needs no-map, and the "
                "kernel frees this one",
                "add no-map, or reusable for a CMA area",
            )
        if region.cma and region.live and len(region.name.encode("latin-1", "replace")) >= CMA_NAME_BYTES:
            case.report(
                CMA_NAME,
                region.path,
                f"{region.name}: the area's name has {len(region.name)} letters, and the kernel keeps "
                f"{CMA_NAME_BYTES - 1}",
                "take a shorter name",
            )


def _misaligned(case: Case, region: Region) -> None:
    grid = case.grid
    if region.kind is Kind.STATIC:
        assert region.reg is not None
        place = region.reg[0]
        base = place.base // grid * grid
        end = -(-place.end // grid) * grid
        root = case.tree.root
        case.report(
            CMA_ALIGNMENT,
            region.path,
            f"{region.name}: base {place.base:#x} and size {place.size:#x} should be multiples of "
            f"{size_text(grid)}, so the kernel reserves the region and frees it again",
            f"write reg = <{cells_text(base, root.address_cells)[1:-1]} "
            f"{cells_text(end - base, root.size_cells)[1:-1]}>",
            prop="reg",
        )
        return
    size = region.size or 0
    rounded = -(-size // grid) * grid
    case.report(
        CMA_SIZE,
        region.path,
        f"{region.name}: size {size:#x} should be a multiple of {size_text(grid)}, so the kernel finds the "
        "memory, refuses to set it up and frees it",
        f"write size = {cells_text(rounded, case.tree.root.size_cells)} ({size_text(rounded)})",
        prop="size",
    )


CHECKS = (set_up,)
