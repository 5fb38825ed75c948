"""Rules about the flag of guaranteed CMA."""

from __future__ import annotations

from dts.finding import Severity
from dts.region import Cause
from dts.rule import Case, Rule

GUARANTEED_NOT_CMA = Rule(
    "guaranteed-not-cma",
    Severity.ERROR,
    "guaranteed on a region that is no CMA area",
    "rmem_cma_setup",
    "G1",
    "The flag is read when a CMA area is set up, so only of a shared-dma-pool with reusable and without "
    "no-map; elsewhere it has no effect and nothing is guaranteed.",
    'pool { compatible = "shared-dma-pool"; guaranteed; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; guaranteed; size = <0x400000>; };',
)
GUARANTEE_SPELLING = Rule(
    "guarantee-spelling",
    Severity.NOTE,
    "the posted series' spelling of guaranteed",
    "rmem_cma_setup",
    "G1",
    "The patches of 2025 read `guarantee`; the name of the property is `guaranteed`. Both are taken for "
    "the same; a region with both is one area.",
    'pool { compatible = "shared-dma-pool"; reusable; guarantee; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; guaranteed; size = <0x400000>; };',
)
GCMA_DISABLED = Rule(
    "gcma-disabled",
    Severity.ERROR,
    "guaranteed in a kernel without CONFIG_GCMA",
    "rmem_cma_setup",
    "G2",
    "Such a kernel refuses the region and frees its memory; it does not make a plain CMA area of it. (A "
    "kernel without the patches at all does: it does not know the property.)",
    'pool { compatible = "shared-dma-pool"; reusable; guaranteed; size = <0x400000>; };  /* CONFIG_GCMA=n */',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
GUARANTEED_BINDING = Rule(
    "guaranteed-binding",
    Severity.NOTE,
    "guaranteed is not yet in the published binding",
    None,
    "G4",
    "dt-schema's shared-dma-pool.yaml allows no further property, so dt-validate reports the flag. The "
    "schema in dts/bindings/ takes its place and knows the flag.",
    "dt-validate board.dtb",
    "dt-validate -s processed-schema.json board.dtb  # processed with dts/bindings, see docs/check.md",
)

RULES = (
    GUARANTEED_NOT_CMA,
    GUARANTEE_SPELLING,
    GCMA_DISABLED,
    GUARANTEED_BINDING,
)


def guarantee(case: Case) -> None:
    """The flag of guaranteed CMA."""
    for node, region in case.live_regions():
        if not (node.flag("guaranteed") or node.flag("guarantee")):
            continue
        prop = "guaranteed" if node.flag("guaranteed") else "guarantee"
        if not region.cma:
            missing = (
                'compatible = "shared-dma-pool"'
                if not node.is_compatible("shared-dma-pool")
                else "reusable"
                if not node.flag("reusable")
                else None
            )
            case.report(
                GUARANTEED_NOT_CMA,
                region.path,
                f"{region.name}: {prop} has no effect, since the region is no CMA area",
                f"add {missing}" if missing is not None else "leave out no-map",
                prop=prop,
            )
            continue
        if region.cause is Cause.GCMA_DISABLED:
            case.report(
                GCMA_DISABLED,
                region.path,
                f"{region.name}: it asks for guaranteed CMA, and a kernel with CONFIG_GCMA=n frees it",
                "enable CONFIG_GCMA, or leave the flag out for plain CMA",
                prop=prop,
            )
        if node.flag("guarantee"):
            both = node.flag("guaranteed")
            case.report(
                GUARANTEE_SPELLING,
                region.path,
                f"{region.name}: "
                + (
                    "it has guaranteed and guarantee, which is one guaranteed area"
                    if both
                    else "guarantee, as the posted series spells it, is taken for guaranteed"
                ),
                "write guaranteed" if not both else "keep guaranteed alone",
                prop="guarantee",
            )
        case.report(
            GUARANTEED_BINDING,
            region.path,
            f"{region.name}: the published binding does not know {prop}, so dt-validate will report it",
            "validate with the schema in dts/bindings",
            prop=prop,
        )


CHECKS = (guarantee,)
