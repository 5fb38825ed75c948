"""QEMU's command line, word by word."""

import shlex

import pytest

from board.command import PASTABLE, Endpoints, as_text, command_line
from board.machine import MACHINES

PI4, PI3 = MACHINES
ENDPOINTS = Endpoints(ram="/dev/fd/5", blob="/dev/fd/6", serial="socket,fd=7", monitor="socket,fd=8")


@pytest.mark.parametrize(("machine", "memory"), [(PI4, "2048M"), (PI3, "1024M")], ids=["raspi4b", "raspi3b"])
def test_command_line(machine: object, memory: str) -> None:
    assert command_line(machine, "Image", ENDPOINTS) == [  # type: ignore[arg-type]
        "qemu-system-aarch64", "-nodefaults", "-no-user-config",
        "-M", f"{machine.name},memory-backend=ram",  # type: ignore[attr-defined]
        "-m", memory,
        "-object", f"memory-backend-file,id=ram,size={memory},mem-path=/dev/fd/5,share=on",
        "-display", "none",
        "-chardev", "socket,fd=7,id=serial", "-serial", "chardev:serial",
        "-chardev", "socket,fd=8,id=monitor", "-mon", "chardev=monitor,mode=control",
        "-kernel", "Image", "-dtb", "/dev/fd/6",
    ]  # fmt: skip


def test_a_comma_in_a_file_name_is_doubled() -> None:
    endpoints = Endpoints("a,b=c", "d,e", "socket,fd=7", "socket,fd=8")
    command = command_line(PI3, "f,g", endpoints)
    assert "memory-backend-file,id=ram,size=1024M,mem-path=a,,b=c,share=on" in command
    # these two are plain arguments, no lists of options
    assert command[command.index("-kernel") + 1] == "f,g"
    assert command[command.index("-dtb") + 1] == "d,e"


def test_more_options_stand_inside() -> None:
    command = command_line(PI3, "Image", ENDPOINTS, ["-append", "quiet splash"])
    at = command.index("-append")
    assert command[at + 1] == "quiet splash"
    assert [word for word in command if word not in ("-append", "quiet splash")] == command_line(
        PI3, "Image", ENDPOINTS
    )


@pytest.mark.parametrize("image", ["Image", "with space", "$(rm -rf)", "quote'quote", "-dash"])
def test_text_is_what_a_shell_reads(image: str) -> None:
    command = command_line(PI4, image, PASTABLE)
    assert shlex.split(as_text(command)) == command


def test_pastable_names_stay_in_the_current_folder() -> None:
    for value in (PASTABLE.ram, PASTABLE.blob, PASTABLE.serial, PASTABLE.monitor):
        assert "/" not in value
