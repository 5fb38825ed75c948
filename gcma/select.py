"""The language of ``-k``: words joined by and, or, not and parentheses."""

import re
from collections.abc import Callable
from typing import Final

PART_LIMIT: Final = 200  # each may nest the parser one deeper


class ExpressionError(ValueError):
    """An expression that cannot be read; the message shows where."""


def matcher(expression: str) -> Callable[[str], bool]:
    """Whether a test's id matches: a word matches when the id contains it.

    :raise ExpressionError: the expression cannot be read
    """
    words: list[str] = re.findall(r"\(|\)|[^\s()]+", expression)
    if len(words) > PART_LIMIT:
        raise ExpressionError(f"-k: an expression of {len(words)} parts; at most {PART_LIMIT} are read")
    position = 0

    def peek() -> str | None:
        return words[position] if position < len(words) else None

    def take() -> str:
        nonlocal position
        position += 1
        return words[position - 1]

    def either() -> Callable[[str], bool]:
        sides = [both()]
        while peek() == "or":
            take()
            sides.append(both())
        return lambda name: any(side(name) for side in sides)

    def both() -> Callable[[str], bool]:
        sides = [single()]
        while peek() == "and":
            take()
            sides.append(single())
        return lambda name: all(side(name) for side in sides)

    def single() -> Callable[[str], bool]:
        word = peek()
        if word is None or word in (")", "and", "or"):
            raise ExpressionError(
                f"-k {expression!r}: expected a word, 'not' or '(' as part {position + 1}, "
                f"saw {word or 'the end'}"
            )
        take()
        if word == "not":
            inner = single()
            return lambda name: not inner(name)
        if word == "(":
            inner = either()
            if peek() != ")":
                raise ExpressionError(
                    f"-k {expression!r}: expected ')' as part {position + 1}, saw {peek() or 'the end'}"
                )
            take()
            return inner
        return lambda name: word in name

    result = either()
    if peek() is not None:
        raise ExpressionError(
            f"-k {expression!r}: expected 'and', 'or' or the end as part {position + 1}, saw {peek()}"
        )
    return result
