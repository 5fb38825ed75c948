"""``gcma manpage``: the manual page and the reference, both generated from the parser."""

import argparse
import re
import sys
from typing import Final

from gcma import __version__
from gcma.completion import parsers

DESCRIPTION: Final = """\
Print the manual page, generated from the commands' own options."""
EPILOG: Final = """\
examples:
  gcma manpage | man -l -
  gcma manpage > ~/.local/share/man/man1/gcma.1
  gcma manpage --markdown > docs/reference-cli.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gcma manpage``."""
    parser.add_argument("--markdown", action="store_true", help="the same as a page of the documents")


def run(options: argparse.Namespace) -> int:
    """Run ``gcma manpage``."""
    from gcma.cli import full_parser

    write = markdown if options.markdown else roff
    sys.stdout.write(write(full_parser()))
    return 0


def roff(parser: argparse.ArgumentParser) -> str:
    """The page for man(1): man macros, sections as man-pages(7) names them."""
    lines = [
        f'.TH GCMA 1 "" "gcma {__version__}" "User Commands"',
        ".SH NAME",
        _roff(f"gcma - {(parser.description or '')[0].lower()}{(parser.description or '').rstrip('.')[1:]}"),
        ".SH SYNOPSIS",
        ".B gcma",
        "COMMAND [OPTIONS]",
    ]
    for name, command in parsers(parser).items():
        text, examples = command.description or "", command.epilog or ""
        lines += [f'.SH "GCMA {name.upper()}"', _roff(_usage(command)), ".PP", _roff(text.strip())]
        for action in _actions(command):
            lines += [".TP", f".B {_roff(_term(action))}", _roff(_help(action, command.prog))]
        if examples.strip():
            lines += [".PP", ".nf", _roff(examples.strip()), ".fi"]
    if parser.epilog:
        lines += [".SH OVERVIEW", ".nf", _roff(parser.epilog.strip()), ".fi"]
    return "\n".join(lines) + "\n"


def markdown(parser: argparse.ArgumentParser) -> str:
    """The page for ``docs/``."""
    lines = ["# Commands", "", "Written by `gcma manpage --markdown` from the commands' own options.", ""]
    for name, command in parsers(parser).items():
        lines += [f"## gcma {name}", "", f"`{_usage(command)}`", "", (command.description or "").strip(), ""]
        rows = [(_term(action), _help(action, command.prog)) for action in _actions(command)]
        if rows:
            lines += ["| argument | meaning |", "|---|---|"]
            lines += [f"| `{term.replace('|', chr(92) + '|')}` | {_cell(text)} |" for term, text in rows]
            lines.append("")
        if command.epilog:
            lines += ["```text", command.epilog.strip(), "```", ""]
    return "\n".join(lines)


def _usage(parser: argparse.ArgumentParser) -> str:
    positionals = []
    for action in _actions(parser):
        if not action.option_strings:
            optional = action.nargs in ("?", "*")
            name = _values(action) + ("..." if action.nargs in ("*", "+") else "")
            positionals.append(f"[{name}]" if optional else name)
    return " ".join([parser.prog, "[OPTIONS]", *positionals])


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Its arguments and options, less those that are not shown and ``--help``."""
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return [a for a in parser._actions if not isinstance(a, hidden) and a.help != argparse.SUPPRESS]


def _values(action: argparse.Action) -> str:
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    return action.metavar or action.dest.upper()


def _term(action: argparse.Action) -> str:
    """How it is written: ``-k EXPR``, ``--json FILE``, ``BOARD.dts``."""
    if not action.option_strings:
        return _values(action)
    value = "" if action.nargs == 0 else f" {_values(action)}"
    return ", ".join(action.option_strings) + value


def _help(action: argparse.Action, prog: str) -> str:
    """Its help text, with argparse's own variables filled in."""
    text = action.help or ""
    return text % {**vars(action), "prog": prog} if "%" in text else text


def _cell(text: str) -> str:
    """A table's cell: markdown may not take our words for its own marks."""
    return re.sub(r"([|<*_`])", r"\\\1", text)


def _roff(text: str) -> str:
    """Text that roff takes as text: its escape character, hyphens and leading dots are marked."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", escaped)
