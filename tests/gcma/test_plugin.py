"""The plug-in as a user's pytest runs it: in a process of its own, on trees of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gcma.catalogue import boards
from guest.build import cache_folder

pytest_plugins = ["pytester"]

TOOLS = ("dtc", "cpp")
CACHE = cache_folder().parent


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was built before is used: pytester gives a test a home of its own, and it would be built again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))


@pytest.fixture
def tree(pytester: pytest.Pytester) -> Path:
    """A devicetree of the user's, on the smaller board."""
    return Path(shutil.copy(boards()["rpi-3-b"], pytester.path / "my.dts"))


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:randomly", *arguments, timeout=120)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").exists()  # a zombie has none


def test_a_suite_without_boards_imports_nothing_of_ours(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no QEMU, no dtc
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            heavy = {"numpy", "numba", "qemu", "PIL", "asyncio", "pexpect"}
            ours = {"board", "guest", "allocator", "dts"}
            assert not (ours | heavy) & set(sys.modules)
            assert "gcma.pytest_plugin" in sys.modules
        """
    )
    run(pytester, "--strict-markers").assert_outcomes(passed=1)


def test_no_board_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(gcma_area): pass")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "no board: name one with --gcma-board FILE, with @pytest.mark.gcma_board('my.dts') or with "
            "gcma_boards in pytest's configuration; 'rpi-4-b' and 'rpi-3-b' come with gcma"
        ]
    )


def test_an_unknown_board_is_a_usage_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(gcma_plan): pass")
    result = run(pytester, "--gcma-board", "none.dts")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        [
            f"*gcma: none.dts: expected a devicetree file in {pytester.path}, or one of the boards that come "
            "with gcma (rpi-3-b, rpi-4-b); found neither"
        ]
    )


def test_boards_as_parameters(pytester: pytest.Pytester, tree: Path) -> None:
    pytester.makeini("[pytest]\ngcma_boards = my.dts\n")
    pytester.mkpydir("deeper").joinpath("test_marked.py").write_text(
        "import pytest\n@pytest.mark.gcma_board('rpi-4-b', '../my.dts')\ndef test_marked(gcma_plan): pass\n"
    )
    pytester.makepyfile(test_plain="def test_plain(gcma_plan): pass\ndef test_none(): pass")
    listed = run(pytester, "--collect-only", "-q", "deeper", "test_plain.py").outlines[:4]
    assert listed == [
        "deeper/test_marked.py::test_marked[rpi-4-b]",
        "deeper/test_marked.py::test_marked[my]",
        "test_plain.py::test_plain[my]",
        "test_plain.py::test_none",
    ]
    named = run(pytester, "--gcma-board", "rpi-4-b", "--gcma-board=my.dts", "test_plain.py", "-v")
    named.assert_outcomes(passed=3)
    named.stdout.fnmatch_lines(["*::test_plain[[]rpi-4-b[]] PASSED*", "*::test_plain[[]my[]] PASSED*"])


def test_a_broken_tree_fails_the_test_in_one_sentence(pytester: pytest.Pytester) -> None:
    Path("broken.dts").write_text("/dts-v1/;\n/ { compatible = ; };\n")
    pytester.makepyfile("def test_it(gcma_plan): pass")
    result = run(pytester, "--gcma-board", "broken.dts")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["gcma: broken.dts: dtc refused it: *broken.dts:2*syntax error*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*During handling*")


def test_without_qemu(pytester: pytest.Pytester, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = pytester.mkdir("bin")
    for tool in TOOLS:
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    monkeypatch.setenv("PATH", str(tools))
    pytester.makepyfile("def test_it(gcma_board): pass")
    result = run(
        pytester, "--gcma-board", "my.dts", "test_without_qemu.py", "my.dts", "-k", "test_it or camera"
    )
    result.assert_outcomes(errors=1, failed=3)
    result.stdout.fnmatch_lines(["gcma: qemu-system-aarch64 is not on PATH: install *"] * 4)
    result.stdout.no_fnmatch_line("*During handling*")


def test_devicetrees_are_collected_when_named(pytester: pytest.Pytester, tree: Path) -> None:
    assert run(pytester, "--collect-only", "-q").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    named = run(pytester, "--collect-only", "-q", "my.dts").outlines[:-2]
    assert {"my.dts::camera.ring", "my.dts::guarantee.fill", "my.dts::board.no-pool"} <= set(named)
    assert not [line for line in named if "selftest" in line]
    pytester.makeini("[pytest]\ngcma_boards = my.dts\n")
    assert run(pytester, "--collect-only", "-q").outlines[:-2] == named
    assert run(pytester, "--collect-only", "-q", "-m", "not gcma_case").ret == 5


def test_a_tree_that_cannot_be_booted_is_one_error(pytester: pytest.Pytester, tree: Path) -> None:
    tree.write_text(tree.read_text().replace("guaranteed;", ""))
    result = run(pytester, "my.dts")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["gcma: my.dts: no guaranteed pool: expected a node below /reserved-memory *"]
    )


@pytest.mark.qemu
def test_cases_as_items(pytester: pytest.Pytester, tree: Path) -> None:
    result = run(pytester, "my.dts", "-v", "-k", "camera.fhd or limit.alias", "--junit-xml=junit.xml")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "my.dts::camera.fhd-rgba PASSED *",
            "my.dts::limit.alias SKIPPED (raspi3b has no memory above 1 GiB) *",
        ]
    )
    cases = {case.get("name"): case for case in ElementTree.parse("junit.xml").iter("testcase")}
    verified = cases["camera.fhd-rgba"].find("properties/property[@name='bytes_verified']")
    assert verified is not None
    assert verified.get("value") == str(1920 * 1080 * 4)
    assert cases["limit.alias"].find("skipped") is not None


def pool_of(tree: Path, size: str, alignment: str) -> None:
    """Another size for the tree's pool."""
    text = re.sub(r"(?<!-)\bsize = <0x[0-9a-f]+>", f"size = <{size}>", tree.read_text())
    tree.write_text(re.sub(r"alignment = <([^>]*)0x[0-9a-f]+>", rf"alignment = <\g<1>{alignment}>", text))


@pytest.mark.qemu
def test_a_failing_case_shows_all_there_is(pytester: pytest.Pytester, tree: Path) -> None:
    pool_of(tree, "0x1000000", "0x400000")  # 16 MiB: too little for a 12 MP frame
    result = run(pytester, "my.dts", "-k", "12mp", "--gcma-report=shots", "--junit-xml=junit.xml")
    result.assert_outcomes(failed=1)
    wanted = [
        "camera: no buffer of 18145 KiB: cma: *alloc failed, req-size: 4537 pages*",
        "--- serial",
        "gcma firmware: EL2, *",
        "--- pool",
        "gcma: 16 MiB at 0x*, 4096 of 4096 pages free or cached",
        "--- command",
        "qemu-system-aarch64 *",
        "--- screen",
        "shots/my.dts-camera.12mp-raw.png",
    ]
    result.stdout.fnmatch_lines(wanted)
    failure = next(ElementTree.parse("junit.xml").iter("failure"))
    pytest.LineMatcher((failure.text or "").splitlines()).fnmatch_lines(wanted)
    assert Path("shots/my.dts-camera.12mp-raw.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.qemu
def test_a_failing_test_shows_all_there_is(pytester: pytest.Pytester, tree: Path) -> None:
    pytester.makepyfile(
        """
        def test_it(gcma_camera, gcma_display):
            frame = gcma_camera.capture(64, 48)
            gcma_display.blit(frame)
            assert frame.number == 2
        """
    )
    result = run(pytester, "--gcma-board=my.dts", "--junit-xml=junit.xml")
    result.assert_outcomes(failed=1)
    picture = ".pytest_cache/d/gcma/test_a_failing_test_shows_all_there_is.py-test_it-my.png"
    wanted = [
        "E       AssertionError: assert 1 == 2",
        "*- gcma serial -*",
        "gcma firmware: EL2, *",
        "*- gcma pool -*",
        "gcma: 128 MiB at 0x*, 32765 of 32768 pages free or cached",
        "0x* #......*",
        "0x* 3 pages of /soc@*/csi@*, bus 0x*",
        "*- gcma command -*",
        "qemu-system-aarch64 *",
        "*- gcma screen -*",
        picture,
    ]
    result.stdout.fnmatch_lines(wanted)
    failure = next(ElementTree.parse("junit.xml").iter("failure"))
    pytest.LineMatcher((failure.text or "").splitlines()).fnmatch_lines(
        [re.sub(r"^\*- | -\*$", "*", line) for line in wanted]
    )
    from PIL import Image

    with Image.open(picture) as image:
        assert image.size == (64, 48)


@pytest.mark.qemu
def test_a_lost_board_is_replaced(pytester: pytest.Pytester, tree: Path) -> None:
    pytester.makepyfile(
        """
        import pathlib

        def note(board):
            with pathlib.Path("pids").open("a") as file:
                print(board.qemu_pid, file=file)

        def test_hang(gcma_board, gcma_case):
            note(gcma_board)
            gcma_case("selftest.hang")

        def test_fresh(gcma_board, gcma_case):
            note(gcma_board)
            gcma_case("camera.fhd-rgba")

        def test_fault(gcma_board, gcma_case):
            note(gcma_board)
            gcma_case("selftest.fault")

        def test_fresh_again(gcma_board, gcma_camera):
            note(gcma_board)
            assert gcma_camera.capture(8, 8).number == 1
        """
    )
    result = run(pytester, "--gcma-board=my.dts", "--gcma-scope=session")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            ">       gcma_case(*selftest.hang*)",
            "E       board.error.DeadlineError: selftest.hang: no answer within 1 s; QEMU was killed",
            "*- gcma serial -*",
            "E       *CaseFailedError: selftest.fault: undefined instruction: ESR 0x2000000 *",
        ]
    )
    result.stdout.no_fnmatch_line("*board/board.py:*")
    first, second, third, fourth = map(int, Path("pids").read_text().split())
    assert first != second
    assert second == third
    assert third != fourth
    assert not any(map(alive, (first, second, third, fourth)))


TRACE = "".join(
    f"x-1 [000] ..... 1.00000{at}: cma_alloc_finish: name=gcma pfn={at + 1:#x}0000 page=0 count={count} "
    "align=8 errorno=0\n"
    for at, count in enumerate((20_000, 300, 20_000))
)
"""The third request has no room in 32768 pages."""


@pytest.mark.qemu
def test_a_trace_beside_the_test(pytester: pytest.Pytester, tree: Path) -> None:
    folder = pytester.mkdir("deeper")
    lines = TRACE.splitlines(keepends=True)
    (folder / "fails.txt").write_text(TRACE)
    (folder / "fits.txt").write_text("".join(lines[:2]))
    (folder / "test_traces.py").write_text(
        """
import pathlib

def test_fits(gcma_trace):
    assert gcma_trace("fits.txt").bytes_verified > 20_300 * 4096

def test_fails(gcma_trace, tmp_path):
    gcma_trace("fails.txt")

def test_another_area(gcma_trace):
    gcma_trace(pathlib.Path("fails.txt"), area="other")

def test_fits_again(gcma_trace):
    gcma_trace("fits.txt")
"""
    )
    result = run(pytester, "--gcma-board=my.dts", "--gcma-scope=session", "deeper")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            ">       gcma_trace(*fails.txt*)",
            "E       *CaseFailedError: trace: call 3 of 3, a request for 20000 pages (80000 KiB) "
            "aligned to 1 MiB, fails: 49872 KiB of 128 MiB are free, the longest free run is 48976 KiB*",
            "*- gcma pool -*",
            "E       *TraceError: *fails.txt: 3 lines: no request to area other is among them, only to *",
        ]
    )


@pytest.mark.qemu
def test_a_board_that_died_between_tests_is_replaced(pytester: pytest.Pytester, tree: Path) -> None:
    pytester.makepyfile(
        """
        import os, signal, time

        def test_kill(gcma_board):
            os.kill(gcma_board.qemu_pid, signal.SIGKILL)
            while gcma_board.alive:
                time.sleep(0.01)

        def test_fresh(gcma_camera):
            assert gcma_camera.capture(8, 8).number == 1

        def test_off(gcma_board):
            gcma_board.close()

        def test_fresh_again(gcma_camera):
            assert gcma_camera.capture(8, 8).number == 1
        """
    )
    run(pytester, "--gcma-board=my.dts", "--gcma-scope=session").assert_outcomes(passed=4)


@pytest.mark.qemu
@pytest.mark.parametrize(("scope", "boards_booted"), [("function", 3), ("module", 2), ("session", 1)])
def test_scope(pytester: pytest.Pytester, tree: Path, scope: str, boards_booted: int) -> None:
    test = "def test_{}(gcma_board): open('pids', 'a').write(f'{{gcma_board.qemu_pid}}\\n')\n"
    pytester.makepyfile(test_a=test.format("a") + test.format("b"), test_c=test.format("c"))
    run(pytester, "--gcma-board=my.dts", f"--gcma-scope={scope}").assert_outcomes(passed=3)
    assert len(set(Path("pids").read_text().split())) == boards_booted


@pytest.mark.qemu
def test_revision(pytester: pytest.Pytester, tree: Path) -> None:
    pytester.makepyfile(
        """
        def test_name(gcma_area):
            assert gcma_area.cleancache.revision.name == "v2"
        """
    )
    result = run(pytester, "--gcma-board=my.dts", "--gcma-revision=v2", "-k", "test_name or hazard")
    result.assert_outcomes(passed=1)
    in_guest = run(pytester, "my.dts", "--gcma-revision=v2", "-k", "hazard.truncate", "--junit-xml=junit.xml")
    in_guest.assert_outcomes(passed=1)
    message = ElementTree.parse("junit.xml").find(".//property[@name='message']")
    assert message is not None
    assert message.get("value") == (
        "as expected of this revision: 64 of 64 old pages came back after a truncate"
    )
    unknown = run(pytester, "--gcma-board=my.dts", "--gcma-revision=v9")
    unknown.assert_outcomes(errors=1)
    unknown.stdout.fnmatch_lines(["*--gcma-revision: *v9*"])


@pytest.mark.qemu
def test_two_trees_on_two_workers(pytester: pytest.Pytester, tree: Path) -> None:
    shutil.copy(tree, "other.dts")
    cases = ("-k", "dma.channels or codec.chain")
    result = run(pytester, "my.dts", "other.dts", *cases, "-n2", "--dist=loadfile", "-v")
    result.assert_outcomes(passed=4)
    lines = [re.match(r"\[(gw\d)\].* PASSED (\w+)\.dts::", line) for line in result.outlines]
    seen = {(match[1], match[2]) for match in lines if match}
    assert len(seen) == 2  # each tree on one worker only
    assert {tree for _, tree in seen} == {"my", "other"}


@pytest.mark.qemu
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_pytest_is_ended(
    pytester: pytest.Pytester, tree: Path, number: signal.Signals
) -> None:
    pytester.makepyfile(
        """
        def test_it(gcma_board, gcma_case):
            open("pid", "w").write(f"{gcma_board.qemu_pid}\\n")
            gcma_case("selftest.wait")
        """
    )
    command = [sys.executable, "-m", "pytest", "-q", "--gcma-board=my.dts"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_for(lambda: Path("pid").exists() and Path("pid").read_text().endswith("\n"))
        qemu = int(Path("pid").read_text())
        assert alive(qemu)
        os.kill(process.pid, number)
        process.wait(30)
    wait_for(lambda: not alive(qemu))
    assert process.returncode == (pytest.ExitCode.INTERRUPTED if number is signal.SIGINT else -number)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
