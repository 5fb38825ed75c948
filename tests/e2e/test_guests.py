"""Guests that are not ours: firmware that lies, floods, stays silent or talks nonsense."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from board import Board, DeadlineError, LaunchError, Plan, ProtocolError, Result, Test, TestRun, load_plan
from dts import Range
from guest import build
from guest.protocol import Case, Outcome

pytestmark = [pytest.mark.qemu]

FIRST, LAST = "_Noreturn void firmware_main", "for (;;) {\n\t\tRING(&reply, OP_NEXT, 0);"
CASE = Case(50, "cache.roundtrip", "cache", "whatever the guest makes of it", deadline=1.0)


@pytest.fixture
def plan(pi3: Path) -> Plan:
    return load_plan(pi3)


@pytest.fixture
def flash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Boots other firmware from now on: ours up to its greeting, then the text; or another ``main``."""
    honest = build._sources()["main.c"].decode()
    begin, greeted = honest.index(FIRST), honest.index(LAST)

    def write(loop: str = "", main: str = "") -> None:
        head, body = honest[:begin], honest[begin:greeted]
        tail = "for (;;)\n\t\t;\n}\n"
        text = head + (main or body + loop + "\n\t" + tail)
        sources = build._sources() | {"main.c": text.encode()}
        folder = tmp_path / "firmware"
        folder.mkdir()
        tools = build.toolchain()
        tools = replace(tools, compiler=(*tools.compiler, "-Wno-unused"))
        image = build._compile(folder, sources, tools)
        monkeypatch.setattr("board.board.firmware", lambda: image)

    return write


def test_endless_requests_are_late_all_the_same(plan: Plan, flash: Callable[..., None]) -> None:
    flash("RING(&reply, OP_NEXT, 0);\n\tfor (;;)\n\t\tRING(&reply, OP_STATS, 0);")
    with Board(plan) as board:
        began = time.monotonic()
        with pytest.raises(DeadlineError, match=r"^cache.roundtrip: no answer within 1 s; QEMU was killed$"):
            board.run(CASE)
        assert time.monotonic() - began < 65


def test_costly_requests_without_end_are_late_too(
    plan: Plan, flash: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("board.host.GRACE_SECONDS", 2.0)
    flash("RING(&reply, OP_NEXT, 0);\n\tfor (;;)\n\t\tRING(&reply, OP_CHECK, 0x8000000, 64 * MIB, 1);")
    with Board(plan) as board:
        began = time.monotonic()
        with pytest.raises(DeadlineError):
            board.run(CASE)
        assert 1 < time.monotonic() - began < 20


def test_random_requests_at_full_speed(plan: Plan, flash: Callable[..., None]) -> None:
    """What tests/board/test_services.py does by plain calls, through the page and from another process."""
    flash(
        """
	uint64_t state = 7;
	RING(&reply, OP_NEXT, 0);
	for (unsigned n = 0; n < 3000; n++) {
		uint64_t arguments[6];
		for (unsigned i = 0; i < 6; i++)
			arguments[i] = random_next(&state) >> random_next(&state) % 64;
		uint32_t op = random_next(&state) % 18;
		if (op != OP_REPORT && op != OP_NEXT && op != OP_HELLO)
			ring(&reply, op, arguments);
	}
	request_text("survived");
	RING(&reply, OP_REPORT, 50, OUTCOME_PASSED, 0, 0);"""
    )
    with Board(plan) as board:
        verdict = board.run(replace(CASE, deadline=60.0))
        assert verdict.message == "survived" or verdict.message.endswith("were not released")
        assert board.area.available_count == board.area.count


def test_nonsense_in_the_devices_registers(plan: Plan, flash: Callable[..., None]) -> None:
    flash(
        """
	uint64_t state = 9;
	RING(&reply, OP_NEXT, 0);
	for (unsigned n = 0; n < 20000; n++) {
		uint64_t place = board.doorbell.base + CAMERA_AT + random_next(&state) % 0x180 / 4 * 4;
		write32(place, (uint32_t)(random_next(&state) >> random_next(&state) % 64));
		if (n % 64 == 0)
			write32(board.doorbell.base + CAMERA_AT, 1);
	}
	RING(&reply, OP_REPORT, 50, OUTCOME_PASSED, 0, 0);"""
    )
    with Board(plan) as board:
        assert board.run(replace(CASE, deadline=60.0)).outcome is Outcome.PASSED


def test_words_for_the_readers_terminal(plan: Plan, flash: Callable[..., None]) -> None:
    flash(
        """
	RING(&reply, OP_NEXT, 0);
	request_text("\\033[2J\\a<b>&\\xff\\xed\\xa0\\x80 \\xe2\\x80\\xae up");
	RING(&reply, OP_REPORT, 50, OUTCOME_FAILED, ~0ul, 0);"""
    )
    with Board(plan) as board:
        verdict = board.run(replace(CASE, deadline=20.0))
    assert verdict.message == "\\x1b[2J\\x07<b>&\\xff\\xed\\xa0\\x80 \\u202e up"
    assert verdict.bytes_verified == 2**64 - 1


def test_a_report_of_no_outcome(plan: Plan, flash: Callable[..., None]) -> None:
    flash("RING(&reply, OP_NEXT, 0);\n\tRING(&reply, OP_REPORT, 50, 77, 0, 0);")
    with Board(plan) as board, pytest.raises(DeadlineError):
        board.run(CASE)


def test_silence(plan: Plan, flash: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("board.board.BOOT_SECONDS", 1.0)
    flash(main="_Noreturn void firmware_main(uint64_t dtb)\n{\n\t(void)dtb;\n\tpark_core();\n}\n")
    with pytest.raises(LaunchError) as caught:
        Board(plan).start()
    assert str(caught.value) == ("the board did not come up: boot: no answer within 1 s; QEMU was killed")
    assert caught.value.command.startswith("qemu-system-aarch64 ")


def test_another_protocol(plan: Plan, flash: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("board.board.BOOT_SECONDS", 5.0)
    flash(
        main="""_Noreturn void firmware_main(uint64_t dtb)
{
	struct reply reply;
	board_read(dtb);
	uart_init(board.uart);
	RING(&reply, OP_HELLO, 99);
	uart_print("status %d: %s\\n", -reply.status, reply_text());
	park_core();
}
"""
    )
    with pytest.raises(LaunchError) as caught:
        Board(plan).start()
    assert "status 71: protocol 99: expected 1" in caught.value.serial


def test_noise_without_end_on_the_serial_line(plan: Plan, flash: Callable[..., None]) -> None:
    flash('RING(&reply, OP_NEXT, 0);\n\tfor (;;)\n\t\tuart_write("noise ");')
    with Board(plan) as board:
        with pytest.raises(DeadlineError) as caught:
            board.run(CASE)
        assert caught.value.serial.endswith(("noise ", "nois", "noi", "no", "n", "noise"))
        assert len(board.serial()) < 1 << 18


def test_a_tree_that_was_changed_on_its_way(plan: Plan) -> None:
    """As if QEMU had rewritten it: the two sides read different pools."""
    moved = replace(plan, place=Range(plan.place.base - 0x40_0000, plan.place.size))
    with pytest.raises(ProtocolError) as caught:
        Board(moved).start()
    assert str(caught.value) == (
        "the firmware read the pool at 0x34000000..0x3bffffff out of its tree, "
        "the host computed 0x33c00000..0x3bbfffff"
    )


def test_a_pool_that_the_tree_does_not_allow(plan: Plan) -> None:
    """The firmware checks the host's place against what the tree asks for."""
    from dts import flatten, read_blob
    from guest.protocol import PLACED

    tree = read_blob(plan.blob, plan.name)
    place = Range(plan.place.base - 0x1000, plan.place.size)
    tree.node(plan.pool.path).properties[PLACED] = b"".join(
        number.to_bytes(8, "big") for number in (place.base, place.size)
    )
    changed = replace(plan, place=place, blob=flatten(tree))
    case = Case(1, "boot.devicetree", "board", "")
    (result,) = TestRun(changed).run([Test(case)], lambda _: None)
    assert result.result is Result.FAILED
    assert result.message == "pool at 0x33fff000, 128 MiB: the base is not aligned as asked"
