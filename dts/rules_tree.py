"""Rules about the blob, the root, and ``/reserved-memory`` itself."""

from __future__ import annotations

from dts.blob import KERNEL_DEPTH
from dts.finding import Severity
from dts.region import Kind, State
from dts.reserved import format_fault
from dts.rule import MAX_FINDINGS, Case, Rule, cells_text, plural
from dts.tree import Node, Oddity

BLOB_MISALIGNED = Rule(
    "blob-misaligned",
    Severity.ERROR,
    "a block of the blob does not start on its alignment",
    "fdt_check_header",
    "",
    "The memory reservation block must start on 8 bytes and the structure block on 4. Older libfdt reads "
    "the blob all the same; the kernel's own copy refuses it, and the machine stops before its first "
    "message.",
    "a header with off_dt_struct = 0x3a",
    "a header with off_dt_struct = 0x38",
)
DUPLICATE_NODE = Rule(
    "duplicate-node",
    Severity.ERROR,
    "two children of one node have the same name",
    "of_reserved_mem_lookup",
    "C3",
    "A path finds only the first of them, and the kernel looks up a reserved region by the name of its "
    "node: users of the second get the first one's memory. dtc refuses such source; only blobs written "
    "otherwise have it.",
    "pool { size = <0x400000>; }; pool { size = <0x800000>; };",
    "pool-a { size = <0x400000>; }; pool-b { size = <0x800000>; };",
)
DUPLICATE_PROPERTY = Rule(
    "duplicate-property",
    Severity.ERROR,
    "a node has two properties of one name",
    "fdt_getprop",
    "",
    "Readers see only the first. dtc refuses such source; only blobs written otherwise have it.",
    "pool { size = <0x400000>; size = <0x800000>; };",
    "pool { size = <0x800000>; };",
)
LATE_PROPERTY = Rule(
    "late-property",
    Severity.ERROR,
    "a property stands behind a child node in the blob",
    "fdt_first_property_offset",
    "",
    "In a blob, properties come before child nodes; readers stop at the first child, so the property is "
    "not seen.",
    "a structure block with FDT_PROP behind FDT_END_NODE",
    "a structure block with all FDT_PROP before the first FDT_BEGIN_NODE",
)
NESTING = Rule(
    "nesting",
    Severity.WARNING,
    "nodes nest deeper than the kernel keeps",
    "unflatten_dt_nodes",
    "",
    f"The kernel keeps {KERNEL_DEPTH - 2} levels below the root and leaves out what lies deeper, with one "
    "warning in its log.",
    "a { b { c { /* ... 70 levels */ }; }; };",
    "a { b { c { }; }; };",
)
ROOT_CELLS = Rule(
    "root-cells",
    Severity.WARNING,
    "the root does not say how many cells an address and a size have",
    "early_init_dt_scan_root",
    "",
    "Without #address-cells and #size-cells the kernel takes 1 and 1 and warns; the specification's "
    "defaults are 2 and 1. More than two cells do not fit the kernel's 64-bit numbers, none cannot hold an "
    "address.",
    "/ { memory@0 { reg = <0x0 0x40000000>; }; };",
    "/ { #address-cells = <1>; #size-cells = <1>; memory@0 { reg = <0x0 0x40000000>; }; };",
)
PARENT_ABSENT = Rule(
    "parent-absent",
    Severity.NOTE,
    "there is no /reserved-memory node",
    "fdt_scan_reserved_mem",
    "E1",
    "The kernel reserves nothing from the devicetree; contiguous memory comes from its default CMA area "
    "alone (cma= or CONFIG_CMA_SIZE_MBYTES). The path is exact: /reserved-memory@0 is not found.",
    "/ { };",
    "/ { reserved-memory { #address-cells = <2>; #size-cells = <1>; ranges; }; };",
)
PARENT_SIZE_CELLS = Rule(
    "parent-size-cells",
    Severity.ERROR,
    "#size-cells of /reserved-memory is not the root's",
    "__reserved_mem_check_root",
    "E2",
    'All regions are ignored with one line in the log, "unsupported node format, ignoring": the kernel '
    "reads them in the root's cells and demands that the node says the same.",
    "reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; };  /* root: 2 and 1 */",
    "reserved-memory { #address-cells = <2>; #size-cells = <1>; ranges; };",
)
PARENT_ADDRESS_CELLS = Rule(
    "parent-address-cells",
    Severity.ERROR,
    "#address-cells of /reserved-memory is not the root's",
    "__reserved_mem_check_root",
    "E3",
    PARENT_SIZE_CELLS.why,
    "reserved-memory { #address-cells = <1>; #size-cells = <1>; ranges; };  /* root: 2 and 1 */",
    "reserved-memory { #address-cells = <2>; #size-cells = <1>; ranges; };",
)
PARENT_RANGES = Rule(
    "parent-ranges",
    Severity.ERROR,
    "/reserved-memory has no ranges",
    "__reserved_mem_check_root",
    "E4",
    'All regions are ignored with one line in the log, "unsupported node format, ignoring". ranges says '
    "that the children's addresses are those of the parent.",
    "reserved-memory { #address-cells = <2>; #size-cells = <1>; };",
    "reserved-memory { #address-cells = <2>; #size-cells = <1>; ranges; };",
)
PARENT_RANGES_VALUE = Rule(
    "parent-ranges-value",
    Severity.WARNING,
    "ranges of /reserved-memory has a value",
    None,
    "E4",
    "The binding wants it empty. The kernel tests only that it is there and never translates a region's "
    "address by it, so a value promises what does not happen.",
    "reserved-memory { #address-cells = <2>; #size-cells = <1>; ranges = <0 0 0 0x10000000 0x10000000>; };",
    "reserved-memory { #address-cells = <2>; #size-cells = <1>; ranges; };",
)
MEMORY_UNKNOWN = Rule(
    "memory-unknown",
    Severity.NOTE,
    "the tree does not say where RAM is",
    "early_init_dt_scan_memory",
    "",
    'No enabled child of the root with device_type = "memory" has a reg of a size above 0: the firmware '
    "will fill it in. Where dynamic regions will lie, and whether they fit, cannot be told before.",
    'memory@0 { device_type = "memory"; reg = <0x0 0x0 0x0>; };',
    'memory@0 { device_type = "memory"; reg = <0x0 0x0 0x40000000>; };',
)

MEMORY_TYPE = Rule(
    "memory-type",
    Severity.WARNING,
    "a memory node that the kernel does not take for one",
    "early_init_dt_scan_memory",
    "",
    'The kernel finds RAM by device_type = "memory" of a child of the root, not by the name of the node.',
    "memory@0 { reg = <0x0 0x0 0x40000000>; };",
    'memory@0 { device_type = "memory"; reg = <0x0 0x0 0x40000000>; };',
)

OVERLAY_ALONE = Rule(
    "overlay-alone",
    Severity.WARNING,
    "an overlay without its base",
    None,
    "",
    "An overlay's nodes belong into another tree, which gives them their parents, cells and phandles. "
    "Alone it says nothing about reserved memory, so nothing else is checked.",
    "gcma check camera.dtbo",
    "gcma check --overlay camera.dtbo board.dtb",
)

RULES = (
    BLOB_MISALIGNED,
    DUPLICATE_NODE,
    DUPLICATE_PROPERTY,
    LATE_PROPERTY,
    NESTING,
    ROOT_CELLS,
    PARENT_ABSENT,
    PARENT_SIZE_CELLS,
    PARENT_ADDRESS_CELLS,
    PARENT_RANGES,
    PARENT_RANGES_VALUE,
    MEMORY_UNKNOWN,
    MEMORY_TYPE,
    OVERLAY_ALONE,
)


def blob(case: Case) -> None:
    """Oddities of the blob, as the reader noticed them."""
    for oddity, node, name in case.tree.oddities[: MAX_FINDINGS + 1]:
        path = node.path
        if oddity is Oddity.DUPLICATE_NODE:
            case.report(
                DUPLICATE_NODE,
                path,
                f"{path}: it has a second child {name!r}, which no path and no lookup finds",
                "give it another name",
            )
        elif oddity is Oddity.DUPLICATE_PROPERTY:
            case.report(
                DUPLICATE_PROPERTY,
                path,
                f"{path}: it has a second property {name!r}, which no reader sees",
                "leave one of them out",
                prop=name,
            )
        elif oddity is Oddity.LATE_PROPERTY:
            case.report(
                LATE_PROPERTY,
                path,
                f"{path}: the property {name!r} stands behind a child node, where no reader sees it",
                "write properties before child nodes, or rebuild the blob with dtc",
                prop=name,
            )
        else:
            case.report(
                BLOB_MISALIGNED,
                path,
                f"{case.tree.name}: the {name} block does not start on its alignment, and the kernel "
                "refuses the blob",
                "rebuild the blob with dtc",
            )


def nesting(case: Case) -> None:
    """Levels that the kernel leaves out; the first node of each branch is named."""
    stack: list[tuple[Node, int]] = [(case.tree.root, 0)]
    while stack:
        node, depth = stack.pop()
        if depth >= KERNEL_DEPTH - 1:
            path = node.path
            case.report(
                NESTING,
                path,
                f"{node.name}: it lies {depth} levels deep, the kernel keeps {KERNEL_DEPTH - 2} below the "
                "root and leaves it out",
                "nest less",
            )
        else:
            stack.extend((child, depth + 1) for child in reversed(node.children))


def root(case: Case) -> None:
    """The cells of the root, in which the kernel reads all of this."""
    for name, default in (("#address-cells", 2), ("#size-cells", 1)):
        value = case.tree.root.properties.get(name)
        if value is None or len(value) < 4:
            case.report(
                ROOT_CELLS,
                "/",
                f"/: {name} is missing, the kernel takes 1 (the specification's default is {default})",
                f"write {name} in the root",
                prop=None if value is None else name,
            )
        elif int.from_bytes(value[:4], "big") not in (1, 2):
            cells = int.from_bytes(value[:4], "big")
            case.report(
                ROOT_CELLS,
                "/",
                f"/: {name} is {cells}, and addresses and sizes have 1 or 2 cells here",
                f"write {name} = <1> or <2>, and all reg properties to match",
                prop=name,
            )


def parent(case: Case) -> None:
    """The format of ``/reserved-memory``."""
    node = case.tree.find("/reserved-memory")
    if node is None:
        case.report(
            PARENT_ABSENT,
            "/",
            "/: there is no /reserved-memory, so the kernel has its default CMA area alone",
            "add one with a shared-dma-pool if a device needs its own memory",
        )
        return
    root_node = case.tree.root
    for rule, name, wanted in (
        (PARENT_SIZE_CELLS, "#size-cells", root_node.size_cells),
        (PARENT_ADDRESS_CELLS, "#address-cells", root_node.address_cells),
    ):
        value = node.properties.get(name)
        seen = "missing" if value is None or len(value) < 4 else f"{int.from_bytes(value[:4], 'big')}"
        if seen != str(wanted):
            lost = plural(len(case.regions), "region")
            case.report(
                rule,
                node.path,
                f"/reserved-memory: {name} is {seen} where the root has {wanted}, and the kernel ignores "
                f"the node with its {lost}",
                f"write {name} = {cells_text(wanted, 1)}",
                prop=name if value is not None else None,
            )
    ranges = node.properties.get("ranges")
    if ranges is None:
        case.report(
            PARENT_RANGES,
            node.path,
            "/reserved-memory: ranges is missing, and the kernel ignores the node with its "
            f"{plural(len(case.regions), 'region')}",
            "add an empty ranges",
        )
    elif ranges:
        case.report(
            PARENT_RANGES_VALUE,
            node.path,
            f"/reserved-memory: ranges should be empty and has {plural(len(ranges), 'byte')}, which the "
            "kernel never applies",
            "write ranges without a value",
            prop="ranges",
        )


def memory(case: Case) -> None:
    """RAM that is not declared leaves the place of dynamic regions open."""
    for child in case.tree.root.children:
        kind = child.properties.get("device_type", b"").partition(b"\0")[0]
        if child.base_name == "memory" and "reg" in child.properties and kind != b"memory":
            case.report(
                MEMORY_TYPE,
                f"/{child.name}",
                f'{child.name}: device_type should be "memory", without which the kernel does not take it '
                "for RAM",
                'write device_type = "memory"',
            )
    dynamic = [
        region
        for _, region in case.live_regions()
        if region.kind is Kind.DYNAMIC and region.state is State.DYNAMIC
    ]
    node = case.tree.find("/reserved-memory")
    if case.memory or not dynamic or node is None or format_fault(case.tree, node) is not None:
        return
    names = ", ".join(region.name for region in dynamic[:4]) + (", ..." if len(dynamic) > 4 else "")
    case.report(
        MEMORY_UNKNOWN,
        "/",
        f"/: no memory node gives the size of RAM, so the place of {plural(len(dynamic), 'dynamic region')} "
        f"({names}) is not known",
        "check the tree that the firmware hands over, or give the size in the memory node",
    )


def overlay(case: Case) -> None:
    """An overlay that stands alone; nothing else can be said about it."""
    fragment = next(child for child in case.tree.root.children if child.child("__overlay__") is not None)
    case.report(
        OVERLAY_ALONE,
        f"/{fragment.name}/__overlay__",
        "/: this is an overlay, whose nodes mean nothing without the tree they belong into",
        "give the base, and the overlay with --overlay",
    )


CHECKS = (blob, nesting, root, parent, memory)
