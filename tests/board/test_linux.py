"""What is decided before Linux boots, and how its words are read."""

from pathlib import Path

import pytest

import dts
from board.kernel import Kernel
from board.linux import LinuxPlan, plan_linux
from board.linux_agree import compare_early, compare_late, compare_panic
from board.linux_log import Fate, read_log
from board.linux_report import read_report
from dts import Range
from dts.source import compile_source

KERNEL = Kernel(Path("Image"), 0x0320_0000)
MIB = 1 << 20


def plan(text: str, words: str = "") -> LinuxPlan:
    text = f'/dts-v1/; / {{ compatible = "brcm,bcm2711"; #address-cells = <2>; #size-cells = <1>; {text} }};'
    return plan_linux(dts.read_blob(compile_source(text.encode(), "x.dts"), "x.dts"), KERNEL, words)


def board(nodes: str, words: str = "") -> LinuxPlan:
    return plan(
        'memory@0 { device_type = "memory"; reg = <0 0 0x3c000000>; };'
        f"reserved-memory {{ #address-cells = <2>; #size-cells = <1>; ranges; {nodes} }};",
        words,
    )


POOL = board('pool { compatible = "shared-dma-pool"; reusable; linux,cma-default; size = <0x10000000>; };')
LOG = """\
[    0.000000] Linux version 7.3.4+deb13-arm64 (debian-kernel@lists.debian.org)
[    0.000000] Reserved memory: created CMA memory pool at 0x000000002c000000, size 256 MiB
[    0.000000] OF: reserved mem: initialized node pool, compatible id shared-dma-pool
[    0.000000] OF: reserved mem: 0x000000002c000000..0x000000003bffffff (262144 KiB) map reusable pool
[    0.000000] Zone ranges:
[    0.000000]   DMA      [mem 0x0000000000000000-0x000000003bffffff]
[    0.000000]   DMA32    empty
"""
REPORT = """\
@@ file /proc/iomem
00000000-3bffffff : System RAM
  00000000-00000fff : reserved
  00200000-028fffff : Kernel code
  28000000-3bffffff : reserved
fe201000-fe2011ff : serial@7e201000

@@ file /proc/meminfo
MemTotal:         930000 kB
CmaTotal:         262144 kB

@@ file /proc/zoneinfo
Node 0, zone      DMA
        cma      65536
      nr_free_cma  65408
Node 0, zone    DMA32
        cma      0

@@ file /sys/kernel/mm/cma/pool/total_pages
65536

@@ gcma off
"""


# ---- the plan


def test_memory_above_qemus_bank_moves_to_a_node_of_its_own() -> None:
    made = plan('memory@0 { device_type = "memory"; reg = <0 0 0x3c000000>, <0 0x40000000 0x40000000>; };')
    assert made.memory == (Range(0, 0x3C00_0000), Range(0x4000_0000, 0x4000_0000))
    tree = dts.read_blob(made.blob, "guest")
    assert [node.name for node in tree.root.children] == ["ram@40000000"]
    assert dts.examine(tree).memory == (Range(0x4000_0000, 0x4000_0000),)


def test_memory_that_the_machine_lacks_is_left_out() -> None:
    made = plan('memory@0 { device_type = "memory"; reg = <0 0 0x3c000000>, <0 0x70000000 0x80000000>; };')
    assert made.memory == (Range(0, 0x3C00_0000), Range(0x7000_0000, 0x1000_0000))


def test_a_bank_of_another_name_stays() -> None:
    made = plan('ram@40000000 { device_type = "memory"; reg = <0 0x40000000 0x20000000>; };')
    assert made.memory == (Range(0, 0x3C00_0000), Range(0x4000_0000, 0x2000_0000))
    assert [node.name for node in dts.read_blob(made.blob, "guest").root.children] == ["ram@40000000"]


def test_what_qemu_lacks_is_disabled() -> None:
    made = plan("soc { clock@7ef00000 { }; i2c@7ef04500 { }; serial@7e201000 { }; timer { }; x@y { }; };")
    soc = dts.read_blob(made.blob, "guest").node("/soc")
    assert [node.name for node in soc.children if not node.available] == ["clock@7ef00000", "i2c@7ef04500"]


def test_the_trees_command_line_stays() -> None:
    made = plan('chosen { bootargs = "cma=32M quiet"; };', "gcma=report")
    assert made.command == (
        "cma=32M quiet earlycon=pl011,0xfe201000 console=ttyAMA0,115200 panic=-1 gcma=report"
    )
    assert made.assumptions().cma_on_cmdline
    assert not plan("", "gcma=report").assumptions().cma_on_cmdline


def test_the_kernel_is_in_the_way() -> None:
    assert POOL.assumptions().occupied[0] == Range(0x0020_0000, KERNEL.memory_bytes)


# ---- the kernel's words


@pytest.mark.parametrize(
    ("line", "fate"),
    [
        ("OF: reserved mem: 0x20000000..0x23ffffff (65536 KiB) nomap non-reusable a@20000000", Fate.PRESENT),
        (
            "Reserved memory: failed to reserve memory for node 'a@20000000': base 0x0, size 0 MiB",
            Fate.REFUSED,
        ),
        ("OF: reserved mem: failed to allocate memory for node 'a@20000000': size 64 MiB", Fate.REFUSED),
        ("OF: reserved mem: invalid size property in 'a@20000000' node.", Fate.REFUSED),
        ("OF: reserved mem: invalid alignment property in 'a@20000000' node.", Fate.REFUSED),
        ("OF: reserved mem: invalid alloc-ranges property in 'a@20000000', skipping node.", Fate.REFUSED),
        ("Reserved memory: bypass a@20000000 node, using cmdline CMA params instead", Fate.REFUSED),
        ("OF: reserved mem: node a@20000000 compatible matching fail", Fate.FREED),
        ("OF: reserved mem: node b compatible matching fail", Fate.ABSENT),
    ],
)
def test_fates(line: str, fate: Fate) -> None:
    assert read_log(f"[    0.000000] {line}\n").fate("a@20000000") is fate


def test_a_refused_hole_is_listed_and_refused() -> None:
    text = (
        "Reserved memory: failed to reserve memory for node 'b': base 0x24000000, size 16 MiB\n"
        "OF: reserved mem: 0x24000000..0x24ffffff (16384 KiB) nomap non-reusable b\n"
    )
    assert read_log(text).fate("b") is Fate.REFUSED


def test_the_default_area_and_overlaps() -> None:
    log = read_log(
        "[    0.000000][    T0] cma: Reserved 64 MiB at 0x0000000037e00000 on node -1\n"
        "a@20000000 (0x0000000020000000--0x0000000028000000) overlaps with b@24000000 "
        "(0x0000000024000000--0x000000002c000000)\n"
    )
    assert log.default_area == Range(0x37E0_0000, 64 * MIB)
    assert log.overlaps == ((Range(0x2000_0000, 128 * MIB), Range(0x2400_0000, 128 * MIB)),)


def test_noise_tells_nothing() -> None:
    log = read_log("\x00\xff garbage\nOF: reserved mem: 0xzz..0x1 (x KiB) map a\n[ 1.0] cma: Reserved\n")
    assert (log.listed, log.refused, log.freed, log.zones) == ({}, frozenset(), frozenset(), {})


# ---- both sides


def test_agreement() -> None:
    verdict, log = POOL.verdict(), read_log(LOG)
    rows = [*compare_early(POOL, verdict, log), *compare_late(verdict, log, read_report(REPORT))]
    assert [row for row in rows if not row.agree] == []
    assert [row.subject for row in rows] == [
        "/reserved-memory/pool",
        "default CMA area",
        "end of ZONE_DMA",
        "CmaTotal",
        "CMA pages of all zones",
        "/sys/kernel/mm/cma/pool",
        "/proc/iomem at 0x2c000000..0x3bffffff",
    ]


@pytest.mark.parametrize(
    ("edit", "subject", "linux"),
    [
        (("2c000000..", "2b000000.."), "/reserved-memory/pool", "present at 0x2b000000..0x3bffffff, no CMA"),
        (("CMA memory pool at 0x000000002c", "CMA memory pool at 0x000000001c"), "/reserved-memory/pool",
         "present at 0x2c000000..0x3bffffff, no CMA"),
        ((") map ", ") nomap "), "/reserved-memory/pool",
         "present at 0x2c000000..0x3bffffff, CMA, not mapped"),
        (("reusable pool", "reusable other"), "/reserved-memory/pool", "not mentioned"),
        (("Zone ranges", "cma: Reserved 64 MiB at 0x28000000"), "default CMA area",
         "the kernel's own at 0x28000000..0x2bffffff"),
        (("-0x000000003bffffff]", "-0x000000000fffffff]"), "end of ZONE_DMA", "0x10000000"),
    ],
)  # fmt: skip
def test_every_disagreement_is_seen(edit: tuple[str, str], subject: str, linux: str) -> None:
    assert edit[0] in LOG
    rows = list(compare_early(POOL, POOL.verdict(), read_log(LOG.replace(*edit))))
    assert [(row.subject, row.linux, row.why) for row in rows if not row.agree] == [(subject, linux, "")]


@pytest.mark.parametrize(
    ("edit", "subject", "linux"),
    [
        (("CmaTotal:         262144", "CmaTotal:         196608"), "CmaTotal", "196608 KiB"),
        (("cma      65536", "cma      1"), "CMA pages of all zones", "1"),
        (("total_pages\n65536", "total_pages\n65535"), "/sys/kernel/mm/cma/pool", "65535 pages"),
        (("28000000-3bffffff", "28000000-3affffff"), "/proc/iomem at 0x2c000000..0x3bffffff", "in use"),
        (
            ("00000000-3bffffff", "00000000-2bffffff"),
            "/proc/iomem at 0x2c000000..0x3bffffff",
            "no system RAM",
        ),
    ],
)
def test_every_late_disagreement_is_seen(edit: tuple[str, str], subject: str, linux: str) -> None:
    assert edit[0] in REPORT
    report = read_report(REPORT.replace(*edit))
    rows = list(compare_late(POOL.verdict(), read_log(LOG), report))
    assert [(row.subject, row.linux) for row in rows if not row.agree] == [(subject, linux)]


def test_a_known_difference_says_why() -> None:
    made = board('pool { compatible = "shared-dma-pool"; reusable; no-map; size = <0x4000000>; };')
    text = "Linux version 6.12.95\nOF: reserved mem: node pool compatible matching fail\n"
    row = next(iter(compare_early(made, made.verdict(), read_log(text))))
    assert not row.agree
    assert row.why.startswith("6.12 gives a pool with reusable and no-map back")
    newer = read_log(text.replace("6.12.95", "7.3.4"))
    assert next(iter(compare_early(made, made.verdict(), newer))).why == ""


def test_a_panic_needs_a_finding() -> None:
    words = "[ 0.3] Unable to handle kernel paging request at virtual address fffffdffc2000000"
    outside = board(
        'pool@80000000 { compatible = "shared-dma-pool"; reusable; reg = <0 0x80000000 0x4000000>; };'
    )
    row = compare_panic(outside.verdict(), words)
    assert row.agree
    assert "outside-memory" in row.ours
    row = compare_panic(POOL.verdict(), words)
    assert not row.agree
    assert row.why == ""
