"""``gcma completion``: tab completion for a shell, generated from the parser."""

import argparse
import sys
from typing import Final

DESCRIPTION: Final = """\
Print a script that makes a shell complete gcma's commands, options, choices and files."""
EPILOG: Final = """\
examples, each for good (a new shell has it):
  gcma completion bash > ~/.local/share/bash-completion/completions/gcma
  gcma completion zsh > ~/.zfunc/_gcma           with fpath+=~/.zfunc before compinit in ~/.zshrc
  gcma completion fish > ~/.config/fish/completions/gcma.fish
"""
SHELLS: Final = ("bash", "zsh", "fish")
FILES: Final = ("FILE", "TRACE", "BOARD.dts", "IMAGE")
FOLDERS: Final = ("DIR",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gcma completion``."""
    parser.add_argument("shell", choices=SHELLS, help="the shell to print it for")


def run(options: argparse.Namespace) -> int:
    """Run ``gcma completion``."""
    sys.stdout.write(script(options.shell))
    return 0


def script(shell: str) -> str:
    """What the shell has to read."""
    import shtab

    from gcma.cli import COMMANDS, full_parser

    parser = full_parser()
    for name, each in parsers(parser).items():
        each.description = COMMANDS[name]  # one line, which shells show beside the command
        for action in each._actions:
            words = (action.metavar,) if isinstance(action.metavar, str) else action.metavar or ()
            if any(word in FILES for word in words):
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # how shtab is told
            elif any(word in FOLDERS for word in words):
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    text: str = shtab.complete(parser, shell)
    return text if text.endswith("\n") else text + "\n"


def parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands, by name.

    argparse has no public way to ask; that of its own module has not changed in a decade.
    """
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}
