"""From the text of a formula to its parts, each with its place in the text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn

from attrs import frozen
from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from cfa.cloudops.errors import FormulaError

#: Limits of the service.
MOST_CHARACTERS = 8192
MOST_STATEMENTS = 100

SYNTAX = "AutoScalingFormulaSyntaxError"
TOO_LONG = "AutoScaleFormulaTooLong"


@frozen
class At:
    """A place in the text; both count from 1."""

    line: int
    column: int


@frozen
class Number:
    at: At
    value: float


@frozen
class Text:
    at: At
    value: str


@frozen
class Name:
    """A variable, a constant or a word of `$NodeDeallocationOption`."""

    at: At
    name: str


@frozen
class Unary:
    at: At
    operator: str
    operand: Expression


@frozen
class Step:
    """One operator of a chain and what stands on its right."""

    at: At
    operator: str
    operand: Expression


@frozen
class Chain:
    """Operators of one precedence, from left to right. Flat, because a sum may be long."""

    at: At
    first: Expression
    steps: tuple[Step, ...]


@frozen
class Choice:
    """`condition ? chosen : other`."""

    at: At
    condition: Expression
    chosen: Expression
    other: Expression


@frozen
class Call:
    at: At
    name: str
    arguments: tuple[Expression, ...]


@frozen
class Member:
    """`owner.name`, or with `arguments` a method of it."""

    at: At
    owner: Expression
    name: str
    arguments: tuple[Expression, ...] | None


Expression = Number | Text | Name | Unary | Chain | Choice | Call | Member


@frozen
class Assign:
    at: At
    name: str
    value: Expression


@frozen
class Stop:
    at: At


Statement = Assign | Stop


@frozen
class Note:
    """Something that works here and may not on the cloud."""

    at: At
    text: str


@frozen
class Formula:
    """A formula that was read and checked."""

    text: str
    statements: tuple[Statement, ...]
    notes: tuple[Note, ...] = ()


def fail(at: At, message: str, hint: str = "", code: str = SYNTAX) -> NoReturn:
    """Raise the error of a place."""
    raise FormulaError(
        f"Line {at.line}, column {at.column}: {message}",
        hint,
        code=code,
        line=at.line,
        column=at.column,
    )


@contextmanager
def refused_depth(at: At) -> Iterator[None]:
    """Turn the end of Python's own stack into an error of the formula."""
    try:
        yield
    except RecursionError:
        deep = True
    else:
        deep = False
    if deep:  # outside, so that the error does not carry a thousand frames along
        fail(at, "It is nested too deeply.", "Use variables for its parts.")


def read(text: str) -> Formula:
    """Read a formula; whether its names and types fit is not looked at.

    Raises:
        FormulaError: it is no formula; with line and column.
    """
    if len(text) > MOST_CHARACTERS:
        fail(
            _place(text, MOST_CHARACTERS),
            f"The formula has {len(text)} characters, {MOST_CHARACTERS} are allowed.",
            "Shorten it; comments count.",
            TOO_LONG,
        )
    try:
        statements: Any = _parser().parse(text)
    except UnexpectedInput as error:
        _explain(text, error)
    if len(statements) > MOST_STATEMENTS:
        fail(
            statements[MOST_STATEMENTS].at,
            f"The formula has {len(statements)} statements, {MOST_STATEMENTS} are allowed.",
        )
    return Formula(text, statements)


@v_args(inline=True)
class _Build(Transformer[Token, tuple[Statement, ...]]):
    """Makes the parts while the parser goes along, so that no depth of a formula matters to it."""

    def start(self, *statements: Statement) -> tuple[Statement, ...]:
        return statements

    def assign(self, name: Token, value: Expression) -> Assign:
        return Assign(_at(name), str(name), value)

    def stop(self, word: Token) -> Stop:
        return Stop(_at(word))

    def choice(
        self, condition: Expression, sign: Token, chosen: Expression, other: Expression
    ) -> Choice:
        return Choice(_at(sign), condition, chosen, other)

    def chain(self, first: Expression, *rest: Any) -> Chain:
        steps = tuple(
            Step(_at(sign), str(sign), operand)
            for sign, operand in zip(rest[::2], rest[1::2], strict=True)
        )
        return Chain(first.at, first, steps)

    def unary(self, sign: Token, operand: Expression) -> Unary:
        return Unary(_at(sign), str(sign), operand)

    def member(
        self, owner: Expression, name: Token, arguments: tuple[Expression, ...] | None
    ) -> Member:
        return Member(_at(name), owner, str(name), arguments)

    def number(self, token: Token) -> Number:
        return Number(_at(token), float(token))

    def text(self, token: Token) -> Text:
        return Text(_at(token), str(token)[1:-1])

    def name(self, token: Token) -> Name:
        return Name(_at(token), str(token))

    def call(self, name: Token, arguments: tuple[Expression, ...]) -> Call:
        return Call(_at(name), str(name), arguments)

    def arguments(self, *given: Expression) -> tuple[Expression, ...]:
        return given


@cache
def _parser() -> Lark:
    return Lark.open(
        "grammar.lark",
        rel_to=__file__,
        parser="lalr",
        transformer=_Build(),
        maybe_placeholders=True,
    )


def _at(token: Token) -> At:
    return At(token.line or 1, token.column or 1)


def _place(text: str, offset: int) -> At:
    before = text[:offset]
    return At(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


#: What may stand at a place, in the order in which it is said.
_EXPECTED = {
    "NAME": "a name",
    "NUMBER": "a number",
    "RPAR": "')'",
    "COMMA": "','",
    "EQUAL": "'='",
    "COLON": "':'",
    "SEMICOLON": "';'",
    "$END": "the end of the formula",
    "PLUS": "an operator",
    "LPAR": "'('",
}


def _explain(text: str, error: UnexpectedInput) -> NoReturn:
    """Say in words where the parser gave up, and what it would have taken."""
    hint = ""
    expected: set[str] = set()
    match error:
        case UnexpectedCharacters():
            position: Any = error.pos_in_stream
            offset = int(position)
            found, expected = f"the character {text[offset]!r}", set(error.allowed or ())
            if text[offset] == '"':
                found, hint = "a text without an end", 'Close it with " in the same line.'
        case UnexpectedToken() if error.token.type != "$END":
            offset = error.token.start_pos or 0
            found, expected = repr(str(error.token)), set(error.accepts)
        case UnexpectedToken():
            offset, found = len(text.rstrip()), "the end of the formula"
            expected = set(error.expected)
        case _:
            raise error
    if text[offset : offset + 2] in ("+=", "-="):
        hint = "Write x = x + 1."
    elif "/*" in text[max(0, offset - 1) : offset + 2]:
        offset = text.index("/*", max(0, offset - 1))
        found, expected, hint = "'/*'", set(), "Comments begin with // and end with their line."
    words = [word for name, word in _EXPECTED.items() if name in expected and word != found]
    if "NAME" in expected and "NUMBER" in expected:  # an operand: all else goes without saying
        words = ["a name, a number or '('"]
    wanted = f", expected {' or '.join(words)}" if words else ""
    fail(_place(text, offset), f"Found {found}{wanted}.", hint)
