"""Reading formulas: what is one, where an error is, and that nothing breaks the reader."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops.autoscale import Situation, evaluate, parse
from cfa.cloudops.errors import FormulaError, InvalidInputError

NOW = datetime(2026, 3, 4, 22, 15, tzinfo=UTC)


def value(expression):
    """What an expression gives, as the service prints it."""
    return evaluate(parse(f"x = {expression}"), Situation(now=NOW)).results.rpartition("x=")[2]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("x = ", 1, 4, "the end of the formula"),
        ("x = 1 +;", 1, 8, "Found ';', expected a name, a number or '('"),
        ("x == 2", 1, 4, "Found '='"),
        ('a = "x', 1, 5, "a text without an end"),
        ("x = 1;\n/* c */ y = 2", 2, 1, "begin with //"),
        ("x = 1 /* c */;", 1, 7, "begin with //"),
        ("x = @", 1, 5, "the character '@'"),
        ("x = 5 % 2", 1, 7, "the character '%'"),
        ("x = 1 y = 2", 1, 7, "Found 'y', expected ';'"),
        ("x = (1", 1, 7, "expected ')'"),
        ("x = 1;;", 1, 7, "Found ';'"),
        ("x = 1 ? 2", 1, 10, "expected ':'"),
        ("x += 1", 1, 3, "Write x = x + 1"),
        ("// nothing\n\n  5;", 3, 3, "Found '5'"),
        ("stop", 1, 5, "expected '('"),
        ("x = y", 1, 5, "not assigned before"),
        ("x = 1; y = $x", 1, 12, "Did you mean x?"),
        ("x = $PendingTask.Count()", 1, 5, "Did you mean $PendingTasks?"),
        ("x = foo(1)", 1, 5, "no function foo()"),
        ("x = stop()", 1, 5, "has no value"),
        ("x = avg", 1, 5, "avg is a function"),
        ('x = avg("a")', 1, 5, "avg() cannot take a string"),
        ("x = val(1, 2)", 1, 5, "val() cannot take a double, a double"),
        ("x = rand(1)", 1, 5, "Write rand()"),
        ("x = time(1)", 1, 5, "time() cannot take a double"),
        ("x = 1 ? 2 : requeue", 1, 7, "of one type"),
        ('x = "a" ? 1 : 2', 1, 9, "A condition is a double"),
        ("x = $ActiveTasks.GetSamples(1)", 1, 18, "Did you mean GetSample?"),
        ("x = $ActiveTasks.GetSample", 1, 18, "is a method"),
        ("x = $ActiveTasks.GetSample()", 1, 18, "cannot take nothing"),
        ("x = $ActiveTasks.GetSample(1, 2)", 1, 18, "cannot take a double, a double"),
        ("x = $ActiveTasks.GetSamplePercent(1)", 1, 18, "cannot take a double"),
        ("x = 1; y = x.GetSample(1)", 1, 14, "Only variables with samples"),
        ("x = time().century", 1, 12, "A timestamp has no century"),
        ("x = time().hour()", 1, 12, "without brackets"),
        ("x = 1; y = x.hour", 1, 14, "A double has no hour"),
        ("$TargetDedicatedNodes = $ActiveTasks.GetSample(1)", 1, 38, "is a double"),
        ("$TargetDedicatedNodes = requeue", 1, 25, "is a double"),
        ("$NodeDeallocationOption = 1", 1, 27, "Use requeue"),
        ("$PendingTasks = 1", 1, 1, "read-only"),
        ("$CurrentDedicatedNodes = 1", 1, 1, "read-only"),
        ("TimeInterval_Hour = 1", 1, 1, "is a constant"),
        ("requeue = 1", 1, 1, "is a word of"),
        ("max = 1", 1, 1, "is a function"),
        ("x = 1;\n  y = x\n    + time();", 3, 5, "between a double and a timestamp"),
    ],
)
def test_errors_have_a_place(text, line, column, words):
    """An error says what is wrong, in line and column, and what to do."""
    with pytest.raises(FormulaError) as caught:
        parse(text)
    error = caught.value
    assert (error.line, error.column) == (line, column)
    assert words in str(error)
    assert error.code == "AutoScalingFormulaSyntaxError"
    assert isinstance(error, InvalidInputError)
    assert isinstance(error, ValueError)


def test_errors_travel():
    """An error keeps its place between processes."""
    with pytest.raises(FormulaError) as caught:
        parse("x = 1;\ny = z")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.line, copy.column, copy.code) == (2, 5, caught.value.code)
    assert str(copy) == str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "// nothing",
        "x=1",
        "x=1;",
        "\tx\r\n=\n1 // one\n;",
        "stop();",
        "timeInterval = TimeInterval_Minute",
        'x = "// no comment"',
        "stopped = 1; y = stopped",
        "$x_1 = 2; y = $x_1",
        "x = ((((1))))",
        "x = 1e3 + 1.5E-2 + 2.",
    ],
)
def test_formulas(text):
    """Blanks and comments are free, the last semicolon too."""
    parse(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1;" * 101, "AutoScalingFormulaSyntaxError"),
        ("x = 1;" + " " * 8200, "AutoScaleFormulaTooLong"),
        ("x = " + "-" * 4000 + "1", "AutoScalingFormulaSyntaxError"),
        ("x = " + "1 ? " * 900 + "1" + " : 1" * 900, "AutoScalingFormulaSyntaxError"),
    ],
    ids=["statements", "characters", "signs", "choices"],
)
def test_limits(text, code):
    """What is too long or nested too deeply is refused as such."""
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "text",
    [
        "x = 1;" * 100,
        "x = " + "+".join(["1"] * 4000),
        "x = " + "(" * 4000 + "1" + ")" * 4000,
        "x = max(" + ",".join(["1"] * 4000) + ")",
    ],
    ids=["statements", "sum", "brackets", "list"],
)
def test_large_formulas(text):
    """What is only long is read and evaluated."""
    evaluate(parse(text), Situation(now=NOW))


# --- properties -----------------------------------------------------------------------------------

blanks = st.sampled_from(["", " ", "\n", " // c\n", "\t "])
numbers = st.integers(0, 99).map(lambda n: (str(n), float(n)))


@st.composite
def operations(draw, parts):
    """An operation in brackets, with what Python makes of it."""
    (left, a), (right, b) = draw(parts), draw(parts)
    sign = draw(st.sampled_from(["+", "-", "*", "<", "<=", "==", ">=", ">", "!=", "&&", "||"]))
    found = {
        "+": a + b, "-": a - b, "*": a * b, "<": a < b, "<=": a <= b, "==": a == b,
        ">=": a >= b, ">": a > b, "!=": a != b, "&&": bool(a and b), "||": bool(a or b),
    }[sign]  # fmt: skip
    x, y = draw(blanks), draw(blanks)
    return f"({x}{left}{y}{sign}{x}{right}{y})", float(found)


@st.composite
def choices(draw, parts):
    """A choice in brackets, with what Python makes of it."""
    (condition, a), (chosen, b), (other, c) = draw(parts), draw(parts), draw(parts)
    return f"({condition}?{chosen}{draw(blanks)}:{other})", b if a else c


expressions = st.recursive(
    numbers,
    lambda parts: st.one_of(
        operations(parts), choices(parts), parts.map(lambda one: (f"-{one[0]}", -one[1]))
    ),
    max_leaves=12,
)


@given(expressions)
def test_arithmetic_is_that_of_python(pair):
    """Any nested expression of numbers has the value that Python gives it."""
    text, expected = pair
    assert float(value(text)) == expected


@given(st.lists(st.tuples(st.sampled_from("+-*"), st.integers(1, 9)), min_size=1, max_size=8))
def test_precedence_is_that_of_python(steps):
    """Without brackets, products bind tighter, and equals go from left to right."""
    text = "1" + "".join(f" {sign} {number}" for sign, number in steps)
    assert float(value(text)) == eval(text)


pieces = st.sampled_from(
    ["x", "$x", "=", "==", ";", "1", ".5", "+", "-", "*", "/", "(", ")", ",", "?", ":", "&&", "||",
     "!", '"a"', "$PendingTasks", ".", "GetSample", "TimeInterval_Minute", "time", "max", "stop",
     "requeue", "$TargetDedicatedNodes", "\n", " ", "//", "/*", '"', "%", "é", "hour"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(pieces).map(" ".join), st.lists(pieces).map("".join)))
def test_any_text_is_read_or_refused(text):
    """Whatever the text: it is a formula, or an error points to a place in it."""
    found = None
    try:
        evaluate(parse(text), Situation(now=NOW))
    except FormulaError as error:
        found = error
    lines = text.split("\n")
    assert found is None or 1 <= found.line <= len(lines)
    assert found is None or 1 <= found.column <= len(lines[found.line - 1]) + 1
