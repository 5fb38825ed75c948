"""Building the firmware: the cache, and what one is told when it cannot be built."""

import os
import shutil
import struct
from pathlib import Path

import pytest

from guest import build
from guest.error import BuildError, GuestError, NoCompilerError

cross = pytest.mark.skipif(
    not shutil.which("aarch64-linux-gnu-gcc") and not shutil.which("clang"), reason="no compiler for AArch64"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own; it does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gcma"


def script(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@cross
def test_image_has_the_arm64_header(cache: Path) -> None:
    image = build.firmware().read_bytes()
    text_offset, image_size = struct.unpack_from("<QQ", image, 8)
    assert image[56:60] == b"ARM\x64"
    assert text_offset == 0
    assert len(image) <= image_size < 0x0360_0000  # what the machine table keeps free for it


@cross
def test_second_call_builds_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.firmware()
    assert first.parent == cache
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("it was built again"))
    assert build.firmware() == first
    assert [path.name for path in cache.iterdir()] == [first.name]


@cross
@pytest.mark.parametrize("name", sorted(build._sources()))
def test_key_follows_each_source(name: str) -> None:
    tools, sources = build.toolchain(), build._sources()
    assert build.cache_key(sources | {name: sources[name] + b"\n"}, tools) != build.cache_key(sources, tools)


@cross
def test_key_follows_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = build._sources()
    keys = set()
    for version in ("12.2", "13.1"):
        folder = tmp_path / version
        script(folder, "aarch64-linux-gnu-gcc", f"echo {version}")
        script(folder, "aarch64-linux-gnu-objcopy", "")
        monkeypatch.setenv("PATH", str(folder), prepend=None)
        keys.add(build.cache_key(sources, build.toolchain()))
    assert len(keys) == 2


def test_a_name_and_its_text_are_told_apart() -> None:
    tools = build.Toolchain(("true",))
    assert build.cache_key({"a": b"b"}, tools) != build.cache_key({"ab": b""}, tools)


@cross
@pytest.mark.skipif(not shutil.which("clang") or not shutil.which("ld.lld"), reason="no clang with lld")
def test_clang_builds_it_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "toolchain", lambda: build.Toolchain(("clang", *build.CLANG)))
    assert build.firmware().read_bytes()[56:60] == b"ARM\x64"


def test_no_compiler(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(NoCompilerError) as caught:
        build.firmware()
    assert str(caught.value) == (
        "no compiler for AArch64: expected aarch64-linux-gnu-gcc, or clang with ld.lld, on PATH; "
        "install Debian's gcc-aarch64-linux-gnu or run scripts/setup"
    )
    assert isinstance(caught.value, GuestError)


def test_clang_alone_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin", "clang", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(NoCompilerError):
        build.toolchain()
    script(tmp_path / "bin", "ld.lld", "")
    assert build.toolchain().compiler[0] == "clang"
    assert len(build.toolchain().commands(["start.S"])) == 1


def test_an_arm64_host_needs_no_cross_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gcc", "objcopy"):
        script(tmp_path / "bin", name, "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert build.toolchain().compiler[0] == "gcc"


def fake_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    script(tmp_path / "bin", "aarch64-linux-gnu-gcc", text)
    script(tmp_path / "bin", "aarch64-linux-gnu-objcopy", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


def test_failing_compiler(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_compiler(tmp_path, monkeypatch, '[ "$1" = --version ] || { echo "start.S:1: no" >&2; exit 3; }')
    with pytest.raises(BuildError) as caught:
        build.firmware()
    assert str(caught.value) == ("aarch64-linux-gnu-gcc refused the firmware (exit status 3):\nstart.S:1: no")
    assert list(cache.iterdir()) == []


def test_compiler_that_does_not_end(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_compiler(tmp_path, monkeypatch, '[ "$1" = --version ] || exec sleep 60')
    monkeypatch.setattr(build, "COMPILE_SECONDS", 0.5)
    with pytest.raises(BuildError, match=r"^aarch64-linux-gnu-gcc did not end within 0.5 s$"):
        build.firmware()


def test_compiler_that_cannot_say_its_version(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_compiler(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(build, "COMPILE_SECONDS", 0.5)
    with pytest.raises(BuildError, match=r"^aarch64-linux-gnu-gcc did not end within 0.5 s$"):
        build.firmware()


def test_compiler_that_writes_nothing(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_compiler(tmp_path, monkeypatch, "exit 0")
    with pytest.raises(BuildError):
        build.firmware()
    assert list(cache.iterdir()) == []


@cross
def test_cache_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BuildError) as caught:
        build.firmware()
    assert str(caught.value) == (
        f"{tmp_path}/file/gcma: cannot keep the built firmware there: Not a directory; "
        "set XDG_CACHE_HOME to a folder that can be written"
    )


@cross
@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no"))
    with pytest.raises(BuildError, match="Permission denied"):
        build.firmware()


def test_cache_follows_the_xdg_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert build.cache_folder() == Path("/somewhere/gcma")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/engineer")
    assert build.cache_folder() == Path("/home/engineer/.cache/gcma")


def test_sources_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "firmware").mkdir()
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    with pytest.raises(BuildError, match=r"the firmware's sources are not installed; reinstall gcma$"):
        build._sources()
