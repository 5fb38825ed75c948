"""The command line: one verb, its options, an exit status.

Exit status: 0 good, 1 the subject failed (findings, a failed test, a counter-example),
2 usage, unreadable input or a missing tool. A command's module is imported only when the
command is named, so that ``gcma --help`` starts fast.
"""

import argparse
import contextlib
import importlib
import io
import os
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

from gcma import __version__

COMMANDS: Final = {
    "check": "say what Linux makes of the reserved memory of a devicetree",
    "test": "boot an emulated board and run the DMA device tests",
    "boot": "boot an emulated board and attach its console",
    "replay": "run a recorded or generated workload against the allocators, side by side",
    "size": "how large must the area be; what does each size cost and gain",
    "prove": "can any order of the declared buffers fail? certificate or counter-example",
    "latency": "the latencies published in 2015 beside the model's: what is fitted, what is predicted",
    "explore": "search for a shortest sequence of operations that breaks a revision",
    "doctor": "which tools are here, what each is needed for, how to get what is missing",
    "completion": "print what makes a shell complete gcma's commands and options",
    "manpage": "print the manual page",
}

EPILOG: Final = """\
examples:
  gcma check dts/boards/rpi-4-b.dts        what will the kernel make of it?
  gcma test dts/boards/rpi-4-b.dts         boot it, verify every byte of DMA
  gcma COMMAND --help                      options and examples of a command

exit status: 0 good, 1 the subject failed, 2 usage, unreadable input or a missing tool
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Prose as wide as the terminal; what is indented, examples above all, as it is written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = text.strip().split("\n\n")
        return "\n\n".join(
            super(argparse.RawDescriptionHelpFormatter, self)._fill_text(part, width, indent)
            if "\n " not in part
            else part
            for part in parts
        )


class Parser(argparse.ArgumentParser):
    """A parser whose every complaint is one sentence that says where to look, without the usage's lines."""

    def error(self, message: str) -> NoReturn:
        """Print it and end with status 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def option_words(self) -> list[str]:
        """All options."""
        return [word for action in self._actions for word in action.option_strings]

    def refuse(self, word: str, known: Iterable[str]) -> NoReturn:
        """Complain about a word, and name the known one that it resembles."""
        import difflib

        close = difflib.get_close_matches(word.partition("=")[0], list(known), 1)
        self.error(f"{word!r} is not known" + (f", did you mean {close[0]}?" if close else ""))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; its exit status."""
    _open_closed_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        return _run(words)
    except KeyboardInterrupt:
        print("gcma: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # whoever read our output has left; nothing more to say, not even at exit
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _open_closed_streams() -> None:
    """Make a closed standard stream one that is empty: its number must not go to a file of ours."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, mode))


def _run(words: list[str]) -> int:
    command = next((word for word in words if not word.startswith("-")), None)
    parser = _parser([command])
    if command is not None and command not in COMMANDS:
        parser.refuse(command, COMMANDS)
    options, rest = parser.parse_known_args(words)
    if options.command is None:
        if rest:
            parser.refuse(rest[0], ["--help", "--version"])
        parser.print_help(sys.stderr)
        return 2
    if rest:
        options.parser.refuse(rest[0], options.parser.option_words())
    try:
        status: int = options.run(options)
        return status
    except MemoryError:
        print(f"gcma {command}: there is not enough memory for this", file=sys.stderr)
        return 2
    except Exception as error:
        if isinstance(error, BrokenPipeError) or not isinstance(error, (*_known_errors(), OSError)):
            raise
        print(f"gcma {command}: {_visible(_sentence(error))}", file=sys.stderr)
        return 2


def full_parser() -> Parser:
    """The parser with the options of all commands, for what is generated from it; imports them all."""
    return _parser(list(COMMANDS))


def _parser(commands: Sequence[str | None]) -> Parser:
    """The parser; only the named commands get their options."""
    parser = Parser(
        prog="gcma",
        description="Executable specification and test bench of guaranteed CMA.",
        epilog=EPILOG,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gcma {__version__}")
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in COMMANDS.items():
        if name not in commands:
            parsers.add_parser(name, help=text)
            continue
        module = importlib.import_module(f"gcma.{name}")
        sub = parsers.add_parser(
            name,
            help=text,
            description=module.DESCRIPTION,
            epilog=module.EPILOG,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run, parser=sub)
    return parser


def _known_errors() -> tuple[type[Exception], ...]:
    """The base errors of the packages that are loaded; others cannot have been raised."""
    names = {"dts": "DtsError", "allocator": "AllocatorError", "board": "BoardError", "guest": "GuestError"}
    return tuple(
        getattr(sys.modules[package], name) for package, name in names.items() if package in sys.modules
    )


def _visible(text: str) -> str:
    """The text with its control characters escaped: a file's name and a guest's words may be anything."""
    from dts.report import printable

    return re.sub(r"[^\n\t]+", lambda part: printable(part[0]), text)


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    evidence = getattr(error, "evidence", None)
    return evidence() if callable(evidence) else str(error)
