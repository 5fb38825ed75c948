"""Rules about the properties of any reserved region: status, reg and size, flags, name."""

from __future__ import annotations

from dts.finding import Severity
from dts.range import size_text
from dts.region import Cause, Kind
from dts.rule import Case, Rule, plural

STATUS_UNKNOWN = Rule(
    "status-unknown",
    Severity.WARNING,
    "status has a word that switches the region off by accident",
    "of_fdt_device_is_available",
    "C1",
    'Only an absent status, "ok" and "okay" enable a node; any other text disables it, with no line in the '
    "log. The specification knows okay, disabled, reserved, fail and fail-...",
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; status = "enabled"; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; status = "okay"; };',
)
REG_LENGTH = Rule(
    "reg-length",
    Severity.ERROR,
    "reg is not a list of whole entries",
    "of_flat_dt_get_addr_size_prop",
    "C4",
    "A reg whose length is no multiple of an entry in the root's cells, or that is empty, is treated as "
    "absent: the region is placed by its size, or, without one, is ignored in silence.",
    "pool@20000000 { reg = <0x20000000 0x400000>; };  /* root: 2 and 1 cells */",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>; };",
)
REG_AND_SIZE = Rule(
    "reg-and-size",
    Severity.WARNING,
    "a region has both reg and size",
    "fdt_scan_reserved_mem",
    "C4",
    "reg wins: size, alignment and alloc-ranges are not read. The binding allows one of the two.",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>; size = <0x800000>; };",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>; };",
)
REG_ENTRIES = Rule(
    "reg-entries",
    Severity.WARNING,
    "reg has more than one entry",
    "__reserved_mem_reserve_reg",
    "C5",
    "Only the first entry is reserved; the memory of the others stays ordinary memory. Linux 7.3 says so "
    "in its log, older kernels reserve them but set up no region there.",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>, <0x0 0x28000000 0x400000>; };",
    "pool-a@20000000 { reg = <0x0 0x20000000 0x400000>; }; pool-b@28000000 { reg = <0x0 0x28000000 "
    "0x400000>; };",
)
NO_MEMORY = Rule(
    "no-memory",
    Severity.ERROR,
    "a region has neither reg nor size",
    "fdt_scan_reserved_mem",
    "C6",
    "The node is ignored, with no line in the log; whoever refers to it gets an error when its driver asks.",
    'pool { compatible = "shared-dma-pool"; reusable; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
RESTRICTED_FLAGS = Rule(
    "restricted-flags",
    Severity.ERROR,
    "a restricted-dma-pool has a flag that it must not have",
    "rmem_swiotlb_setup",
    "C7",
    "The driver that claims a node may refuse it; then the memory is freed again. The restricted pool "
    "refuses reusable, no-map, linux,cma-default and linux,dma-default.",
    'bounce { compatible = "restricted-dma-pool"; reusable; size = <0x400000>; };',
    'bounce { compatible = "restricted-dma-pool"; size = <0x400000>; };',
)
FLAG_VALUE = Rule(
    "flag-value",
    Severity.WARNING,
    "a flag has a value",
    "of_get_flat_dt_prop",
    "P1",
    "The kernel asks only whether the property is there: reusable = <0> switches it on.",
    'pool { compatible = "shared-dma-pool"; reusable = <0>; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; size = <0x400000>; };',
)
REUSABLE_NO_MAP = Rule(
    "reusable-no-map",
    Severity.ERROR,
    "a region is both reusable and no-map",
    "__rmem_cma_verify_node",
    "P2",
    "The binding forbids it. No driver takes such a shared-dma-pool: not CMA, because of no-map, and not "
    "the coherent pool, because of reusable. Linux 7.3 keeps it as a plain unmapped hole (6.12 drops it), "
    "so the memory is lost.",
    'pool { compatible = "shared-dma-pool"; reusable; no-map; size = <0x400000>; };',
    'pool { compatible = "shared-dma-pool"; reusable; size = <0x400000>; };',
)
UNIT_ADDRESS = Rule(
    "unit-address",
    Severity.NOTE,
    "the unit address is not the address in reg",
    None,
    "",
    "The binding wants name@address for a region with reg, with the address in reg, and no unit address "
    "without reg. The kernel does not look; users of the region find it by this name.",
    "pool@0 { reg = <0x0 0x20000000 0x400000>; };",
    "pool@20000000 { reg = <0x0 0x20000000 0x400000>; };",
)

RULES = (
    STATUS_UNKNOWN,
    REG_LENGTH,
    REG_AND_SIZE,
    REG_ENTRIES,
    NO_MEMORY,
    RESTRICTED_FLAGS,
    FLAG_VALUE,
    REUSABLE_NO_MAP,
    UNIT_ADDRESS,
)
_FLAGS = ("reusable", "no-map", "guaranteed", "guarantee", "linux,cma-default", "linux,dma-default")
_STATUS_WORDS = ("okay", "ok", "disabled", "reserved", "fail")


def status(case: Case) -> None:
    """A status that no one can have meant."""
    for path, region in case.regions.items():
        node = case.nodes[path]
        if region.available:
            continue
        word = node.properties["status"].partition(b"\0")[0].decode("latin-1")
        if word not in _STATUS_WORDS and not word.startswith("fail-"):
            case.report(
                STATUS_UNKNOWN,
                path,
                f'{region.name}: status should be "okay" or "disabled" and is {word!r}, which disables the '
                "region",
                'write status = "okay", or "disabled" if that is meant',
                prop="status",
            )


def entries(case: Case) -> None:
    """``reg`` and ``size``: which of them the kernel takes."""
    root = case.tree.root
    form = f"{root.address_cells}+{root.size_cells} cells"
    for node, region in case.live_regions():
        reg = node.properties.get("reg")
        if reg is not None and not region.reg:
            instead = "places the region by its size" if node.flag("size") else "ignores the region"
            case.report(
                REG_LENGTH,
                region.path,
                f"{region.name}: reg should be entries of {form} "
                f"({4 * (root.address_cells + root.size_cells)} bytes) and has {plural(len(reg), 'byte')}, "
                f"so the kernel {instead}",
                "write the address and the size in the root's cells",
                prop="reg",
            )
        elif region.kind is Kind.NONE:
            case.report(
                NO_MEMORY,
                region.path,
                f"{region.name}: it has neither reg nor size, and the kernel ignores it in silence",
                "give it a size (placed at boot) or a reg (fixed place)",
            )
        if region.reg and node.flag("size"):
            unread = [name for name in ("size", "alignment", "alloc-ranges") if node.flag(name)]
            case.report(
                REG_AND_SIZE,
                region.path,
                f"{region.name}: it has reg and size, and the kernel takes reg and does not read "
                f"{', '.join(unread)}",
                "keep reg for a fixed place, or the others for one chosen at boot",
                prop="size",
            )
        if region.reg and len(region.reg) > 1:
            lost = sum(item.size for item in region.reg[1:])
            case.report(
                REG_ENTRIES,
                region.path,
                f"{region.name}: reg has {len(region.reg)} entries, and the kernel reserves only the first "
                f"({region.reg[0]}), not the other {size_text(lost)}",
                "write one node for each entry",
                prop="reg",
            )


def flags(case: Case) -> None:
    """Flags that have a value, or that exclude each other."""
    for node, region in case.live_regions():
        for name in _FLAGS:
            if node.properties.get(name):
                case.report(
                    FLAG_VALUE,
                    region.path,
                    f"{region.name}: {name} is a flag and has a value of "
                    f"{plural(len(node.properties[name]), 'byte')}, which the kernel does not read: the "
                    "flag is on",
                    f"write {name} without a value, or leave it out to switch it off",
                    prop=name,
                )
        if region.cause is Cause.RESTRICTED_FLAGS:
            barred = [name for name in _FLAGS if node.flag(name) and not name.startswith("guarantee")]
            case.report(
                RESTRICTED_FLAGS,
                region.path,
                f"{region.name}: a restricted-dma-pool cannot have {', '.join(barred)}, and the kernel "
                "frees its memory",
                f"leave out {', '.join(barred)}",
                prop=barred[0],
            )
        if node.flag("reusable") and node.flag("no-map"):
            case.report(
                REUSABLE_NO_MAP,
                region.path,
                f"{region.name}: reusable and no-map exclude each other, and the kernel keeps the memory "
                "from all use",
                "leave out no-map for a CMA area, or reusable for a region that only its device uses",
                prop="no-map",
            )


def names(case: Case) -> None:
    """The unit address, as the binding wants it."""
    for _, region in case.live_regions():
        _, at, unit = region.name.partition("@")
        if region.reg:
            wanted = f"{region.reg[0].base:x}"
            if unit.replace(",", "").lstrip("0") != wanted.lstrip("0"):
                case.report(
                    UNIT_ADDRESS,
                    region.path,
                    f"{region.name}: the unit address should be {wanted}, the address in reg, and is "
                    f"{unit or 'absent'}",
                    f"call the node {region.name.partition('@')[0]}@{wanted}",
                )
        elif at and region.kind is Kind.DYNAMIC:
            case.report(
                UNIT_ADDRESS,
                region.path,
                f"{region.name}: a region without reg has no address, and its name has the unit address "
                f"{unit}",
                f"call the node {region.name.partition('@')[0]}",
            )


CHECKS = (status, entries, flags, names)
