"""The manual page and the reference, generated from the parser."""

import argparse
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gcma.cli import COMMANDS, full_parser, main
from gcma.completion import parsers
from gcma.manpage import markdown, roff

REFERENCE = Path(__file__).parents[2] / "docs" / "reference-cli.md"


def options() -> set[str]:
    return {
        string
        for parser in parsers(full_parser()).values()
        for action in parser._actions
        for string in action.option_strings
        if action.help != argparse.SUPPRESS
    } - {"-h", "--help"}


def test_every_command_and_option_is_there() -> None:
    page = roff(full_parser()).replace(r"\-", "-")
    for command in COMMANDS:
        assert f'.SH "GCMA {command.upper()}"' in page
    described = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", "\n".join(re.findall(r"(?m)^\.B (-.*)$", page))))
    assert described == options()


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
def test_groff_has_nothing_to_say() -> None:
    run = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-b"],
        input=roff(full_parser()),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stderr == ""
    assert "GCMA(1)" in run.stdout


def test_roff_takes_nothing_for_its_own() -> None:
    parser = argparse.ArgumentParser(prog="gcma", description="Test.")
    command = parser.add_subparsers().add_parser(
        "x", description=".dts files\nand a \\ here", epilog="'quoted"
    )
    command.add_argument("-n", metavar="N", help="100%% of %(prog)s, %(default)s", default=3)
    assert roff(parser).splitlines()[6:] == [
        '.SH "GCMA X"',
        r"gcma x [OPTIONS]",
        ".PP",
        r"\&.dts files",
        r"and a \e here",
        ".TP",
        r".B \-n N",
        "100% of gcma x, 3",
        ".PP",
        ".nf",
        r"\&'quoted",
        ".fi",
    ]


def test_the_reference_is_up_to_date() -> None:
    assert REFERENCE.read_text() == markdown(full_parser()), (
        "run: gcma manpage --markdown > docs/reference-cli.md"
    )


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manpage"]) == 0
    assert capsys.readouterr().out == roff(full_parser())
    assert main(["manpage", "--markdown"]) == 0
    assert capsys.readouterr().out == markdown(full_parser())
