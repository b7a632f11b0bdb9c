"""Names and types of a formula, checked before it ever runs.

A formula is a straight line of statements, so the type of every expression is known without running
it. Both arms of a choice are looked at, although only one of them will be evaluated.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import NoReturn

from cfa.cloudops.autoscale import samples, syntax, values
from cfa.cloudops.autoscale.functions import FUNCTIONS
from cfa.cloudops.autoscale.syntax import At, Formula, fail, refused_depth
from cfa.cloudops.autoscale.values import Kind


def parse(text: str) -> Formula:
    """Read a formula and check its names and types.

    Returns:
        The formula, with notes about what the cloud may see otherwise.

    Raises:
        FormulaError: it can never be evaluated; with line and column.
    """
    formula = syntax.read(text)
    checker = _Checker()
    for statement in formula.statements:
        with refused_depth(statement.at):
            checker.statement(statement)
    return Formula(text, formula.statements, tuple(checker.notes))


class _Checker:
    def __init__(self) -> None:
        self.notes: list[syntax.Note] = []
        self._variables: dict[str, Kind] = {}

    def statement(self, statement: syntax.Statement) -> None:
        if isinstance(statement, syntax.Stop):
            return
        name = statement.name
        _refuse_target(statement.at, name)
        kind = self.kind(statement.value)
        wanted = values.SETTABLE.get(name)
        if wanted is not None and kind is not wanted:
            fail(
                statement.value.at,
                f"{name} is a {wanted.value}, this is a {kind.value}.",
                "Use requeue, terminate, taskcompletion or retaineddata."
                if wanted is Kind.OPTION
                else "Reduce it to one number, for instance with max(...).",
            )
        self._variables[name] = kind

    def kind(self, expression: syntax.Expression) -> Kind:
        """The type of an expression."""
        match expression:
            case syntax.Number():
                return Kind.DOUBLE
            case syntax.Text():
                return Kind.STRING
            case syntax.Name():
                return self._name(expression)
            case syntax.Unary():
                return self._unary(expression)
            case syntax.Chain():
                return self._chain(expression)
            case syntax.Choice():
                return self._choice(expression)
            case syntax.Call():
                return self._call(expression)
            case syntax.Member():
                return self._member(expression)

    def _note(self, at: At, text: str) -> None:
        self.notes.append(syntax.Note(at, text))

    def _name(self, expression: syntax.Name) -> Kind:
        name = expression.name
        if name in self._variables:
            return self._variables[name]
        if name in values.SETTABLE:
            return values.SETTABLE[name]
        if name in values.CONSTANTS:
            return values.kind_of(values.CONSTANTS[name])
        if name in values.PLAIN:
            return Kind.DOUBLE
        if name in values.SAMPLED:
            self._sampled(expression.at, name)
            self._note(expression.at, f"{name} without a method means its newest sample.")
            return Kind.DOUBLE
        return self._unknown(expression)

    def _sampled(self, at: At, name: str) -> None:
        if name in values.NOT_RECORDED:
            self._note(at, f"{name} has no samples on this machine, nor on the cloud since 2024.")

    def _unknown(self, expression: syntax.Name) -> NoReturn:
        name = expression.name
        known = [*self._variables, *values.SETTABLE, *values.PLAIN, *values.SAMPLED]
        known += [*values.CONSTANTS, *FUNCTIONS]
        if name in FUNCTIONS:
            fail(expression.at, f"{name} is a function.", f"Write {FUNCTIONS[name].form}.")
        fail(expression.at, f"{name} was not assigned before.", _similar(name, known))

    def _unary(self, expression: syntax.Unary) -> Kind:
        kind = self.kind(expression.operand)
        if kind is not Kind.DOUBLE:
            fail(
                expression.at,
                f"{expression.operator!r} takes a double, not a {kind.value}.",
                "Write -1 * x for anything but a number."
                if (kind in (Kind.VECTOR, Kind.INTERVAL) and expression.operator == "-")
                else "",
            )
        return kind

    def _chain(self, expression: syntax.Chain) -> Kind:
        kind = self.kind(expression.first)
        for step in expression.steps:
            right = self.kind(step.operand)
            found = values.OPERATIONS.get((step.operator, kind, right))
            if found is None:
                fail(
                    step.at,
                    f"{step.operator!r} cannot be used between a {kind.value} and a {right.value}.",
                    _advice(step.operator, kind, right),
                )
            if found.extension:
                self._note(
                    step.at,
                    f"{kind.value} {step.operator} {right.value} is not documented for the service: "
                    "the cloud may refuse it.",
                )
            kind = found.result
        return kind

    def _choice(self, expression: syntax.Choice) -> Kind:
        condition = self.kind(expression.condition)
        if condition is not Kind.DOUBLE:
            fail(expression.at, f"A condition is a double, not a {condition.value}.")
        chosen, other = self.kind(expression.chosen), self.kind(expression.other)
        if chosen is not other:
            fail(
                expression.at,
                f"Both values of a choice are of one type, these are a {chosen.value} and a "
                f"{other.value}.",
            )
        return chosen

    def _call(self, expression: syntax.Call) -> Kind:
        name = expression.name
        kinds = tuple(self.kind(argument) for argument in expression.arguments)
        if name == "stop":
            fail(expression.at, "stop() is a statement; it has no value.")
        function = FUNCTIONS.get(name)
        if function is None:
            fail(
                expression.at,
                f"There is no function {name}().",
                _similar(name, [*FUNCTIONS, "stop"]),
            )
        result = function.result(kinds)
        if result is None:
            fail(
                expression.at, f"{name}() cannot take {_listed(kinds)}.", f"Write {function.form}."
            )
        if not function.documented:
            self._note(expression.at, f"{name}() is not documented for the service.")
        return result

    def _member(self, expression: syntax.Member) -> Kind:
        owner, name = expression.owner, expression.name
        if isinstance(owner, syntax.Name) and owner.name in values.SAMPLED:
            self._sampled(owner.at, owner.name)
            return self._method(expression)
        kind = self.kind(owner)
        if kind is Kind.TIMESTAMP and name in values.PARTS:
            if expression.arguments is not None:
                fail(expression.at, f"{name} is no method.", f"Write .{name} without brackets.")
            return Kind.DOUBLE
        if name in samples.METHODS:
            fail(
                expression.at,
                f"Only variables with samples have {name}(), this is a {kind.value}.",
                f"Variables with samples are {', '.join(values.RECORDED)}.",
            )
        if kind is Kind.TIMESTAMP:
            fail(expression.at, f"A timestamp has no {name}.", f"It has {', '.join(values.PARTS)}.")
        return fail(expression.at, f"A {kind.value} has no {name}.")

    def _method(self, expression: syntax.Member) -> Kind:
        name = expression.name
        if name not in samples.METHODS:
            fail(
                expression.at,
                f"There is no method {name}().",
                _similar(name, list(samples.METHODS)) or f"There are {', '.join(samples.METHODS)}.",
            )
        if expression.arguments is None:
            fail(expression.at, f"{name} is a method.", f"Write {samples.METHODS[name]}.")
        kinds = tuple(self.kind(argument) for argument in expression.arguments)
        result = samples.method_result(name, kinds)
        if result is None:
            fail(
                expression.at,
                f"{name}() cannot take {_listed(kinds)}.",
                f"Write {samples.METHODS[name]}; start and end are timeintervals or timestamps.",
            )
        return result


def _refuse_target(at: At, name: str) -> None:
    """Names that cannot be assigned to."""
    if name in values.PLAIN or name in values.SAMPLED:
        what = "is a read-only variable of the service"
    elif name in values.CONSTANTS:
        is_option = values.kind_of(values.CONSTANTS[name]) is Kind.OPTION
        what = f"is a word of {values.OPTION}" if is_option else "is a constant"
    elif name in FUNCTIONS or name == "stop":
        what = "is a function"
    else:
        return
    fail(at, f"{name} {what} and cannot be assigned to.", "Choose another name.")


def _listed(kinds: tuple[Kind, ...]) -> str:
    return ", ".join(f"a {kind.value}" for kind in kinds) if kinds else "nothing"


def _similar(name: str, known: list[str]) -> str:
    swapped = name.removeprefix("$") if name.startswith("$") else f"${name}"
    if swapped in known:
        return f"Did you mean {swapped}? With and without $ are two names."
    close = get_close_matches(name, known, 1)
    return f"Did you mean {close[0]}?" if close else ""


def _advice(sign: str, left: Kind, right: Kind) -> str:
    if Kind.VECTOR in (left, right):
        return "Reduce the vector to a number first: max(...), avg(...), val(..., 0)."
    if {left, right} == {Kind.TIMESTAMP, Kind.INTERVAL} and sign == "-":
        return "Put the timestamp first."
    return ""
