"""The doorbell page: its layout, and the C header that the firmware sees of it."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from guest import protocol
from guest.build import toolchain
from guest.protocol import CASES, DEVICES, Case, Directive, Op, Outcome, c_header

PARTS = {
    "magic and version": (0, 8),
    "request": (protocol.REQUEST_AT, protocol.REQUEST.size),
    "reply": (protocol.REPLY_AT, protocol.REPLY.size),
    "request text": (protocol.REQUEST_TEXT_AT, protocol.TEXT_BYTES),
    "reply text": (protocol.REPLY_TEXT_AT, protocol.TEXT_BYTES),
    "camera": (protocol.CAMERA_AT, protocol.CAMERA.size),
    "3D block": (protocol.V3D_AT, protocol.V3D.size),
}


def test_parts_of_the_page_do_not_overlap() -> None:
    spans = sorted((start, start + size, name) for name, (start, size) in PARTS.items())
    for (_, end, name), (start, _, other) in itertools.pairwise(spans):
        assert end <= start, f"{name} runs into {other}"
    assert spans[-1][1] <= protocol.DOORBELL_BYTES


@pytest.mark.parametrize("name", PARTS)
def test_words_are_aligned(name: str) -> None:
    # sequence numbers and registers are single loads and stores only on their own alignment
    assert PARTS[name][0] % 8 == 0


def test_fields_have_no_padding() -> None:
    assert protocol.REQUEST.size == 2 * 4 + 6 * 8
    assert protocol.REPLY.size == 2 * 4 + 6 * 8
    assert protocol.CAMERA.size == 10 * 4 + protocol.CAMERA_SLOTS * (8 + 4)
    assert protocol.CAMERA_QUEUE_AT % 8 == 0


def test_hits_of_a_full_batch_fit_a_reply() -> None:
    values = 6
    assert 64 * (values - 1) >= protocol.BATCH_PAGES


@pytest.mark.parametrize("attribute", ["number", "id"])
def test_cases_are_told_apart(attribute: str) -> None:
    seen = [getattr(case, attribute) for case in CASES]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case_can_be_named_and_met(case: Case) -> None:
    group, _, name = case.id.partition(".")
    assert group
    assert name
    assert case.deadline > 0
    assert case.number not in set(Directive)
    assert set(case.needs) <= {device.name for device in DEVICES}


def test_case_that_breaks_something_is_hidden() -> None:
    assert {case.id for case in CASES if case.hidden} == {
        case.id for case in CASES if case.id.startswith("selftest.")
    }


def test_devices_are_told_apart() -> None:
    names = [name for device in DEVICES for name in device.compatible]
    assert len(set(names)) == len(names)
    assert len({device.number for device in DEVICES}) == len(DEVICES)


def _asserts() -> list[str]:
    """What C must find in the header, said once more by Python."""
    lines = [
        f"_Static_assert({name} == {getattr(protocol, python):#x}, {name!r});".replace("'", '"')
        for name, python in (
            ("DOORBELL_MAGIC", "MAGIC"),
            ("DOORBELL_VERSION", "VERSION"),
            ("DOORBELL_BYTES", "DOORBELL_BYTES"),
            ("TEXT_BYTES", "TEXT_BYTES"),
            ("BATCH_PAGES", "BATCH_PAGES"),
            ("REQUEST_AT", "REQUEST_AT"),
            ("REPLY_AT", "REPLY_AT"),
            ("REQUEST_TEXT_AT", "REQUEST_TEXT_AT"),
            ("REPLY_TEXT_AT", "REPLY_TEXT_AT"),
            ("CAMERA_AT", "CAMERA_AT"),
            ("CAMERA_SLOTS", "CAMERA_SLOTS"),
            ("V3D_AT", "V3D_AT"),
            ("V3D_VALID", "V3D_VALID"),
        )
    ]
    for prefix, values in (("OP", Op), ("DIRECTIVE", Directive), ("OUTCOME", Outcome)):
        lines += [f'_Static_assert({prefix}_{item.name} == {item.value}u, "{item.name}");' for item in values]
    lines += [f'_Static_assert(DEVICE_{d.name.upper()} == {d.number}, "{d.name}");' for d in DEVICES]
    return lines


def _compile(folder: Path, lines: list[str]) -> subprocess.CompletedProcess[str]:
    (folder / "protocol.h").write_text(c_header())
    (folder / "agree.c").write_text("\n".join(lines) + "\n")
    compiler = toolchain().compiler[0]
    return subprocess.run(
        [compiler, "-std=gnu11", "-ffreestanding", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "agree.c"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


cross = pytest.mark.skipif(
    not shutil.which("aarch64-linux-gnu-gcc") and not shutil.which("clang"), reason="no compiler for AArch64"
)


@cross
def test_header_agrees_with_python(tmp_path: Path) -> None:
    run = _compile(tmp_path, ['#include "protocol.h"', *_asserts()])
    assert run.returncode == 0, run.stderr


@cross
def test_header_that_disagrees_would_be_noticed(tmp_path: Path) -> None:
    run = _compile(tmp_path, ['#include "protocol.h"', '_Static_assert(REPLY_AT == 0x81, "moved");'])
    assert "moved" in run.stderr


@cross
def test_the_firmwares_register_structs_have_the_protocols_size(tmp_path: Path) -> None:
    from importlib import resources

    firmware = resources.files("guest") / "firmware"
    lines = ['#include "protocol.h"', "#include <stdint.h>"]
    camera = {
        "done": protocol.CAMERA_DONE_AT,
        "error": protocol.CAMERA_ERROR_AT,
        "queue": protocol.CAMERA_QUEUE_AT,
        "frames": protocol.CAMERA_FRAMES_AT,
    }
    for file, name, place, size, fields in (
        ("camera.c", "camera", protocol.CAMERA_AT, protocol.CAMERA.size, camera),
        ("v3d.c", "v3d", protocol.V3D_AT, protocol.V3D.size, {"done": protocol.V3D_DONE_AT}),
    ):
        source = (firmware / file).read_text()
        begin = source.index("struct registers {")
        body = source[begin : source.index("};", begin) + 2]
        lines.append(body.replace("struct registers", f"struct {name}"))
        lines.append(f'_Static_assert(sizeof(struct {name}) == {size}, "{name}");')
        lines += [
            f'_Static_assert(__builtin_offsetof(struct {name}, {field}) == {at - place}, "{field}");'
            for field, at in fields.items()
        ]
    run = _compile(tmp_path, lines)
    assert run.returncode == 0, run.stderr


@cross
def test_case_list_names_a_function_for_each_case(tmp_path: Path) -> None:
    lines = ['#include "protocol.h"', "#define ONE(function, number, id) + 1"]
    lines.append(f'_Static_assert((0 CASE_LIST(ONE)) == {len(CASES)}, "cases");')
    lines.append("#define ADD(function, number, id) + number")
    lines.append(f'_Static_assert((0 CASE_LIST(ADD)) == {sum(c.number for c in CASES)}, "numbers");')
    run = _compile(tmp_path, lines)
    assert run.returncode == 0, run.stderr
