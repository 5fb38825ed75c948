"""Whole numbers among the options."""

import argparse
import re


def natural(text: str) -> int:
    """A number of 0 or more, as a type of :mod:`argparse`."""
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, saw {text!r}")
    return int(text)
