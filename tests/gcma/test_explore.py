"""``gcma explore`` and ``gcma latency`` as a user calls them."""

import argparse
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from gcma import explore, latency, progress


def run(command: ModuleType, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    status: int = command.run(parser.parse_args(words))
    return status


def test_a_broken_revision(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(explore, "--revision", "rfc", "--steps", "3000") == 1
    out = capsys.readouterr().out
    assert "R3: a release is not compared with what was allocated: a second one takes new pages\n" in out
    assert 'world = World("rfc", pages=1)\n' in out
    assert out.splitlines()[-1].startswith("rfc: ")


def test_the_safe_revision(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(explore, "--steps", "2000", "--seed", "4") == 0
    out = capsys.readouterr().out
    assert out.startswith("safe: nothing broke in 2,0")
    assert out.endswith("seed 4\n")


def test_json_stands_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(explore, "--revision", "rfc", "--steps", "3000", "--json", "-") == 1
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "gcma.explore/1"
    defect = result["defects"][0]
    assert defect["name"] in {"R1", "R2", "R3"}
    assert defect["operations"][0][0] == "alloc"
    path = tmp_path / "found.json"
    assert run(explore, "--revision", "rfc", "--steps", "3000", "--json", str(path)) == 1
    again = json.loads(path.read_text())
    assert again["defects"] == result["defects"]
    assert re.search(r": (1 defect|\d+ defects) in [\d,]+ operations", capsys.readouterr().out)


def test_an_interrupted_search_tells_what_it_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: progress.Progress, done: int) -> None:
        if done > 3000:
            raise KeyboardInterrupt

    monkeypatch.setattr(progress.Progress, "show", interrupt)
    assert run(explore, "--revision", "rfc", "--seconds", "100") == 130
    result = capsys.readouterr()
    assert "R3: " in result.out
    assert result.err == "gcma explore: interrupted; what was found until then is above\n"


@pytest.mark.parametrize("words", [("--seconds", "0"), ("--seconds", "nan"), ("--steps", "0")])
def test_senseless_budgets(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(explore, *words) == 2
    assert capsys.readouterr().err == "gcma explore: --seconds and --steps must be above 0\n"


def test_latency(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "latency.svg"
    assert run(latency, "--json", "-", "--plot", str(picture)) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["published"][1]["guaranteed"] == {"least": 512, "most": 10140, "mean": 2002}
    assert [row["pages"] for row in result["modelled"]] == [row["pages"] for row in result["published"]]
    assert picture.read_text().rstrip().endswith("</svg>")
