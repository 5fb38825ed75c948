"""The package itself: what the wheel holds, and that it works where there is no checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGES = ("allocator", "board", "dts", "gcma", "guest")
Finished = subprocess.CompletedProcess[str]


def run(*command: str | Path, cwd: Path, **environment: str) -> Finished:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: nothing lands in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    for name in PACKAGES:
        shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    built = run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--wheel-dir", folder, source, cwd=folder,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel; dependencies are this environment's own."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    done = run(
        sys.executable, "-m", "pip", "--python", folder, "install", "--quiet", "--no-deps", "--no-index",
        wheel, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # dependencies only, not the checkout that an editable install of ours points to
    borrowed = site / "borrowed"
    borrowed.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.suffix != ".pth" and not path.name.startswith(("__editable__", "gcma", *PACKAGES)):
            (borrowed / path.name).symlink_to(path)
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    return folder / "bin"


def test_the_wheel_holds_every_source(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for package in PACKAGES:
        for path in (CHECKOUT / package).glob("*.py"):
            assert f"{package}/{path.name}" in inside
        assert f"{package}/py.typed" in inside
    for pattern in ("guest/firmware/*", "guest/linux/*", "dts/boards/*.dts*", "dts/bindings/**/*.yaml"):
        found = [str(path.relative_to(CHECKOUT)) for path in CHECKOUT.glob(pattern) if path.is_file()]
        assert found, pattern
        assert set(found) <= inside


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    roots = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {root for root in roots if not root.endswith(".dist-info")} == set(PACKAGES)
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".pyc", ".o", ".Image"))]


def test_the_wheel_carries_the_license(wheel: Path) -> None:
    assert [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/licenses/LICENSE")]


def in_package(installed: Path, cwd: Path, package: str, *parts: str) -> Path:
    """A file of the installed package, found as a user would."""
    code = f"import importlib.resources as r; print(r.files({package!r}).joinpath(*{parts!r}))"
    done = run(installed / "python", "-c", code, cwd=cwd)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert not path.is_relative_to(CHECKOUT), "the checkout was imported"
    assert path.is_file()
    return path


def test_version(installed: Path, tmp_path: Path) -> None:
    from gcma import __version__

    assert run(installed / "gcma", "--version", cwd=tmp_path).stdout == f"gcma {__version__}\n"
    assert run(installed / "python", "-m", "gcma", "--version", cwd=tmp_path).returncode == 0


def test_check(installed: Path, tmp_path: Path) -> None:
    for name in ("rpi-4-b.dts", "rpi-3-b.dts"):
        board = in_package(installed, tmp_path, "dts", "boards", name)
        done = run(installed / "gcma", "check", board, "--format", "json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["files"][0]["ok"] is True


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["rpi-3-b.dts", "rpi-4-b.dts"])
def test_a_board_boots(installed: Path, tmp_path: Path, name: str, need_qemu: Callable[[Path], Path]) -> None:
    board = need_qemu(in_package(installed, tmp_path, "dts", "boards", name))
    # a cache of its own: the firmware is built from the sources in the wheel
    cache = installed.parent / "cache"
    done = run(
        installed / "gcma", "test", board, "-k", "boot or camera.fhd or cache.roundtrip or board",
        "--report", "out", cwd=tmp_path, XDG_CACHE_HOME=str(cache),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
    assert (tmp_path / "out" / "results.json").is_file()
    assert list((cache / "gcma").glob("firmware-*.Image"))


@pytest.mark.qemu
def test_the_example_project(installed: Path, tmp_path: Path) -> None:
    """The plug-in out of the wheel: all of the example's tests pass but the one that is to fail."""
    project = tmp_path / "project"
    shutil.copytree(
        CHECKOUT / "docs" / "example", project, ignore=shutil.ignore_patterns("__pycache__", ".*")
    )
    cache = str(installed.parent / "cache")
    done = run(
        installed / "python", "-m", "pytest", "--junit-xml=junit.xml", cwd=project, XDG_CACHE_HOME=cache
    )
    ended = {
        case.get("name"): next((child.tag for child in case if child.tag != "properties"), "passed")
        for case in ElementTree.parse(project / "junit.xml").iter("testcase")
    }
    assert [name for name, how in ended.items() if how not in ("passed", "skipped")] == [
        "test_stopping_and_starting[board]"
    ], done.stdout[-3000:]
    assert ended["camera.ring"] == ended["display.blit"] == "passed"
    assert ended["test_a_full_cache_is_in_nobodys_way[board]"] == "passed"


@pytest.mark.nightly
def test_pip_install_brings_the_dependencies(wheel: Path, tmp_path: Path) -> None:
    """As a user does it: an empty environment, and the network."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=True)
    done = run(folder / "bin" / "pip", "install", "--quiet", wheel, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(folder / "bin" / "pip", "check", cwd=tmp_path).returncode == 0
    board = in_package(folder / "bin", tmp_path, "dts", "boards", "rpi-3-b.dts")
    done = run(folder / "bin" / "gcma", "test", board, "-k", "boot or camera or cache", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
