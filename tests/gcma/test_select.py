"""The language of ``-k``."""

import ast
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcma.select import PART_LIMIT, ExpressionError, matcher

IDS = ["camera.ring", "camera.fhd-rgba", "dma.2d", "cache.reuse", "board.no-pool"]


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("camera", ["camera.ring", "camera.fhd-rgba"]),
        ("camera.ring", ["camera.ring"]),
        ("-", ["camera.fhd-rgba", "board.no-pool"]),
        ("not camera", ["dma.2d", "cache.reuse", "board.no-pool"]),
        ("camera or dma", ["camera.ring", "camera.fhd-rgba", "dma.2d"]),
        ("camera and ring", ["camera.ring"]),
        ("camera and not ring", ["camera.fhd-rgba"]),
        ("dma or camera and ring", ["camera.ring", "dma.2d"]),
        ("(dma or camera) and ring", ["camera.ring"]),
        ("(dma or camera)and(not(ring))", ["camera.fhd-rgba", "dma.2d"]),
        ("not not dma", ["dma.2d"]),
        ("CAMERA", []),
    ],
)
def test_chosen(expression: str, chosen: list[str]) -> None:
    assert [name for name in IDS if matcher(expression)(name)] == chosen


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "-k '': expected a word, 'not' or '(' as part 1, saw the end"),
        ("and", "-k 'and': expected a word, 'not' or '(' as part 1, saw and"),
        ("a or", "-k 'a or': expected a word, 'not' or '(' as part 3, saw the end"),
        ("a b", "-k 'a b': expected 'and', 'or' or the end as part 2, saw b"),
        ("(a", "-k '(a': expected ')' as part 3, saw the end"),
        ("a)", "-k 'a)': expected 'and', 'or' or the end as part 2, saw )"),
        ("()", "-k '()': expected a word, 'not' or '(' as part 2, saw )"),
        ("not", "-k 'not': expected a word, 'not' or '(' as part 2, saw the end"),
        ("(" * 1000, f"-k: an expression of 1000 parts; at most {PART_LIMIT} are read"),
    ],
)
def test_error(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        matcher(expression)
    assert str(caught.value) == message


PARTS = st.lists(st.sampled_from(["(", ")", "and", "or", "not", "a", "b.c"]), max_size=PART_LIMIT)


@given(PARTS)
def test_means_what_python_means(parts: list[str]) -> None:
    """Python's own operators have the same precedence."""
    text = " ".join(parts)
    words = {"a": "('a' in name)", "b.c": "('b.c' in name)"}
    python = " ".join(words.get(part, part) for part in parts)
    names = ("a", "b.c", "ab.c")
    wanted = None
    with contextlib.suppress(SyntaxError, MemoryError, RecursionError):
        # "()" and "a (b)" mean something in Python only
        if not any(isinstance(node, ast.Tuple | ast.Call) for node in ast.walk(ast.parse(python))):
            wanted = [bool(eval(python, {"name": name})) for name in names]
    try:
        match = matcher(text)
    except ExpressionError:
        assert wanted is None
        return
    assert [match(name) for name in names] == wanted


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        assert matcher(text)("camera.ring") in (True, False)
