"""The commands replay, size and prove: what they print, write and return."""

import contextlib
import html
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from allocator.prove_check import check
from gcma.cli import main

BOARD = """\
/dts-v1/;
/ {
    #address-cells = <1>; #size-cells = <1>;
    compatible = "raspberrypi,3-model-b", "brcm,bcm2837";
    memory@0 { device_type = "memory"; reg = <0 0x3b400000>; };
    reserved-memory {
        #address-cells = <1>; #size-cells = <1>; ranges;
        pool: pool@20000000 {
            compatible = "shared-dma-pool"; reusable; guaranteed;
            reg = <0x20000000 SIZE>;
        };
    };
    soc {
        compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>; ranges;
        dma-ranges = <0xc0000000 0 0x3f000000>;
        csi@7e801000 {
            compatible = "brcm,bcm2835-unicam"; reg = <0x7e801000 0x800>;
            memory-region = <&pool>;
            gcma,buffers = <2 0x100000 0>, <2 0x300000 0x100000>;
            gcma,buffer-names = "small", "large";
            EXTRA
        };
    };
};
"""


@pytest.fixture
def board(tmp_path):
    def write(size="0x800000", extra=""):
        path = tmp_path / "board.dts"
        path.write_text(BOARD.replace("SIZE", size).replace("EXTRA", extra))
        return str(path)

    return write


def test_prove_prints_the_shortest_failing_order(board, capsys):
    path = board()
    assert main(["prove", path, "--seconds", "120"]) == 1
    assert capsys.readouterr().out == (
        "/reserved-memory/pool@20000000: 8 MiB at 0x20000000\n"
        "  A  csi/small    2 x 1 MiB      aligned to 1 MiB\n"
        "  B  csi/large    2 x 3 MiB      aligned to 1 MiB\n"
        "  8 MiB in all\n"
        "Some order fails, though all of them fit. The shortest sequence, 5 calls:\n"
        "    1 alloc   B0    0x20000000  |BBBBBBBBBBBBBBBBBBBBB...................................|\n"
        "    2 alloc   B1    0x20300000  |BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB..............|\n"
        "    3 release B0    0x20000000  |.....................BBBBBBBBBBBBBBBBBBBBB..............|\n"
        "    4 alloc   A0    0x20000000  |AAAAAAA..............BBBBBBBBBBBBBBBBBBBBB..............|\n"
        "    5 alloc   B2         fails  |AAAAAAA..............BBBBBBBBBBBBBBBBBBBBB..............|\n"
        "      3 MiB wanted, 4 MiB free, the longest free run is 2 MiB\n"
        "Smallest size in which every order succeeds: 12 MiB. "
        "Robson's published bound for first fit: 83.35 MiB, alignment aside.\n"
        "To see it fail on the emulated board:\n"
        f"  gcma prove {path} --trace fail.trace\n"
        f"  gcma test {path} --trace fail.trace\n"
    )


def test_prove_certifies_and_checks(board, tmp_path, capsys):
    proof = tmp_path / "proof.json"
    assert main(["prove", board(), "--size", "12M", "--certificate", str(proof), "--json", "-"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (area,) = answer["areas"]
    assert (answer["schema"], area["outcome"], area["enough"], area["needed"]) == (
        "gcma.prove/1",
        "always",
        12 << 20,
        12 << 20,
    )
    for certificate in json.loads(proof.read_text()):
        check(certificate)
    assert main(["prove", "--check", str(proof)]) == 0
    assert "every order succeeds in 3072 pages" in capsys.readouterr().out
    proof.write_text(proof.read_text().replace('"pages": 3072', '"pages": 3071'))
    assert main(["prove", "--check", str(proof)]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '[{"problem": 5}]',
        '[{"problem": {"base_pfn": 0, "pages": 1e30, "demands": []}, "unit_pages": 1, "lead_pages": 0}]',
        '[{"problem": {"base_pfn": 0, "pages": 9, "demands": [{"count": 1, "pages": 1, "align": 0, '
        '"limit": []}]}, "unit_pages": 1, "lead_pages": 0, "ends": 3}]',
    ],
)
def test_certificates_that_are_none_end_with_one_sentence(tmp_path, capsys, text):
    path = tmp_path / "proof.json"
    path.write_text(text)
    assert main(["prove", "--check", str(path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"gcma prove: {path}: ")
    assert printed.err.count("\n") == 1


def test_a_counter_example_is_a_trace(board, tmp_path, capsys):
    trace = tmp_path / "fail.trace"
    assert main(["prove", board(), "--trace", str(trace)]) == 1
    capsys.readouterr()
    assert (
        main(["replay", str(trace), "--board", board(), "--allocator", "gcma,carveout", "--json", "-"]) == 1
    )
    answer = json.loads(capsys.readouterr().out)
    assert [each["failed"] for each in answer["allocators"]] == [1, 1]
    assert main(["replay", str(trace), "--size", "12M", "--allocator", "gcma"]) == 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            "gcma,buffers = <0 1 0>;",
            "/soc/csi@7e801000: gcma,buffer-names has 2 names for 1 kinds of buffers: give each a name",
        ),
        (
            'gcma,buffers = <0 1 0>; gcma,buffer-names = "x";',
            "/soc/csi@7e801000: gcma,buffers declares 0 buffers of 1 bytes: expected at least 1 of each",
        ),
        (
            'gcma,buffers = <1 1 3>; gcma,buffer-names = "x";',
            "/soc/csi@7e801000: gcma,buffers asks for an alignment of 0x3: expected 0 or a power of two",
        ),
        (
            'gcma,buffers = <200000 1 0>; gcma,buffer-names = "x";',
            "/reserved-memory/pool@20000000: 200000 buffers are too many to decide about: the most is 100000",
        ),
    ],
)
def test_declarations_that_cannot_be_understood(board, capsys, extra, message):
    path = board()
    text = (
        BOARD.replace("SIZE", "0x800000")
        .replace("gcma,buffers = <2 0x100000 0>, <2 0x300000 0x100000>;", "")
        .replace('gcma,buffer-names = "small", "large";', "")
    )
    if '"x"' not in extra:
        extra += ' gcma,buffer-names = "a", "b";'
    with open(path, "w") as file:  # noqa: PTH123
        file.write(text.replace("EXTRA", extra))
    assert main(["prove", path]) == 2
    assert capsys.readouterr().err == f"gcma prove: {message}\n"


def test_a_board_that_declares_nothing(board, capsys):
    path = board()
    text = "\n".join(
        line
        for line in BOARD.replace("SIZE", "0x800000").replace("EXTRA", "").splitlines()
        if "gcma,b" not in line
    )
    with open(path, "w") as file:  # noqa: PTH123
        file.write(text)
    assert main(["prove", path]) == 2
    assert (
        capsys.readouterr().err == f"gcma prove: {path}: no device declares gcma,buffers: see docs/prove.md\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["prove", "--check", "/dev/null"],
            "gcma prove: /dev/null: expected a file that --certificate wrote, found no JSON\n",
        ),
        (
            ["prove", "--check", sys.executable],
            f"gcma prove: {sys.executable}: expected a file that --certificate wrote, found no JSON\n",
        ),
        (["prove"], "gcma prove: name either a BOARD.dts or --check FILE\n"),
        (
            ["replay", "camera", "--allocator", "slab"],
            "gcma replay: --allocator 'slab' is unknown: use carveout, gcma, cma\n",
        ),
        (
            ["replay", "camera", "--allocator", "gcma, gcma"],
            "gcma replay: --allocator 'gcma, gcma' names one twice: name each once\n",
        ),
        (
            ["replay", "camera", "--size", "17"],
            "gcma replay: size '17': expected a multiple of 4 KiB such as 64M, below 4 TiB\n",
        ),
        (
            ["replay", "camera", "--form", "csv"],
            "gcma replay: workload 'camera' is no file: --form and --area are for traces\n",
        ),
        (
            ["replay", "camra"],
            "gcma replay: camra: no such file, and no workload of that name: give a trace, or one of "
            "camera, video, browse, build, suspend, fragment\n",
        ),
        (
            ["size", "camera", "--plot", "x.gif"],
            "gcma size: --plot x.gif: expected a name that ends in .png or .svg\n",
        ),
        (
            ["size", "camera", "--memory", "64M", "--anon", "33M"],
            "gcma size: --anon must be at most half of --memory\n",
        ),
        (
            ["size", "-", "--sweep", "64M"],
            "gcma size: --sweep reads the trace again and again; give a file, not a pipe\n",
        ),
        (
            ["size", "camera", "--sweep", ""],
            "gcma size: size '': expected a multiple of 4 KiB such as 64M, below 4 TiB\n",
        ),
        (
            ["size", "camera", "--rate", "7"],
            "gcma size: a sampling rate of 7 makes no sense: use a number above 0 and up to 1\n",
        ),
    ],
)
def test_usage_errors(capsys, arguments, message):
    assert main(arguments) == 2
    assert capsys.readouterr().err == message


def test_replay_prints_the_allocators_side_by_side(capsys):
    assert main(["replay", "camera", "--seconds", "3", "--size", "96M"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "camera: area 96 MiB, memory 512 MiB, anonymous 256 MiB, pinned pages 0"
    assert lines[1].split() == ["gcma", "cma", "carveout"]
    assert lines[2].split() == ["requests", "7", "7", "7"]


def test_the_defaults_show_what_the_idle_area_gains(capsys):
    """Half of memory is anonymous, so that the workload's files do not fit into the rest."""
    assert main(["replay", "camera", "--json", "-"]) == 0
    replayed = json.loads(capsys.readouterr().out)
    gcma, cma, carveout = replayed["allocators"]
    assert (replayed["memory"], replayed["anonymous"]) == (512 << 20, 256 << 20)
    assert gcma["disk_reads"] < 0.95 * carveout["disk_reads"]
    assert cma["migrated"] > 0
    assert main(["size", "camera"]) == 0
    out = capsys.readouterr().out
    assert "Memory beside the area: 512 MiB, anonymous 256 MiB.\n" in out
    rates = [float(line.split()[-2]) for line in out.splitlines() if line.endswith(" %")]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.85 * rates[0]


def test_anon_0_leaves_all_memory_to_the_page_cache(capsys):
    assert main(["replay", "camera", "--seconds", "3", "--anon", "0"]) == 0
    assert "memory 512 MiB, anonymous 0 bytes," in capsys.readouterr().out
    assert main(["size", "camera", "--seconds", "3", "--anon", "0", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["anonymous"] == 0


def test_a_folder_of_the_workloads_name_does_not_hide_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["size", "build", "--seconds", "2", "--sweep", "32M", "--jobs", "1"]) == 0
    assert capsys.readouterr().out.startswith("build: 2 requests")


def test_convert_and_back(tmp_path, capsys):
    compact = tmp_path / "camera.gcma"
    assert main(["replay", "camera", "--seconds", "3", "--convert", str(compact)]) == 0
    assert "15,082 events" in capsys.readouterr().out
    results = []
    for trace in ("camera", str(compact)):
        assert main(["replay", trace, "--seconds", "3", "--json", "-"]) == 0
        results.append(json.loads(capsys.readouterr().out)["allocators"])
    assert results[0] == results[1]


def test_size_recommends_and_draws(board, tmp_path, capsys):
    png, svg = tmp_path / "c.png", tmp_path / "c.svg"
    arguments = ["size", "camera", "--seconds", "3", "--board", board("0x4000000")]
    assert main([*arguments, "--plot", str(png), "--plot", str(svg), "--json", "-"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["recommended"] >= answer["never_fails"] * 4096
    assert answer["proven_floor"] == 12 << 20
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in svg.read_bytes()
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "never failed in this trace." in out
    assert "Proven floor: 12 MiB" in out


def test_the_curve_of_failures_falls_where_none_is_left(monkeypatch, tmp_path):
    """A straight line between two sizes would show failures at the recommended one."""
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    assert main(["size", "camera", "--seconds", "20", "--plot", str(tmp_path / "c.png")]) == 0
    (line,) = drawn[0].axes[1].get_lines()
    sizes, failed = line.get_data()
    assert line.get_drawstyle() == "steps-post"
    enough = 17541 / 256  # "68.5 MiB never failed"
    assert enough in sizes
    assert all((size < enough) == (part > 0) for size, part in zip(sizes, failed, strict=True))


def test_a_sweep_from_the_command_line(capsys):
    arguments = [
        "size",
        "camera",
        "--seconds",
        "2",
        "--sweep",
        "32M,64M",
        "--revisions",
        "safe,v2",
        "--jobs",
        "1",
    ]
    assert main([*arguments, "--json", "-"]) == 0
    sweep = json.loads(capsys.readouterr().out)["sweep"]
    assert [(each["size"] >> 20, each["revision"]) for each in sweep] == [
        (32, "safe"),
        (32, "v2"),
        (64, "safe"),
        (64, "v2"),
    ]


def test_a_board_without_buffers_has_no_floor(tmp_path, capsys):
    path = tmp_path / "bare.dts"
    path.write_text("/dts-v1/; / { };")
    assert main(["size", "camera", "--seconds", "2", "--board", str(path)]) == 0
    said = f"No proven floor: gcma prove {path} has no answer, or no buffers to answer for.\n"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["process", "group"])
def test_an_interrupted_sweep_ends_at_once(kill):
    """As Ctrl-C, to all processes of the terminal, and as a signal to one of them."""
    words = ["size", "camera", "--seconds", "1000000", "--sweep", "32M,64M,128M", "--jobs", "2"]
    command = [sys.executable, "-m", "gcma", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
        end = time.monotonic() + 60
        while len(children.read_text().split()) < 3 and time.monotonic() < end:  # a tracker, and the workers
            time.sleep(0.1)
        time.sleep(2)
        workers = children.read_text().split()
        kill(run.pid, signal.SIGINT)
        try:
            assert run.wait(60) == 130
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
        assert run.stderr is not None
        assert run.stderr.read().endswith("gcma: interrupted\n")
    assert len(workers) >= 3


def test_size_writes_a_page(tmp_path, capsys):
    assert main(["size", "camera", "--seconds", "10", "--report", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text()
    for line in capsys.readouterr().out.splitlines():
        assert html.escape(line) in page
    assert "data:image/png;base64," in page
