"""What a checked formula wants: its statements from top to bottom, with one fixed time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from attrs import field, frozen

from cfa.cloudops.autoscale import syntax, values
from cfa.cloudops.autoscale.functions import FUNCTIONS, NoElementsError
from cfa.cloudops.autoscale.samples import Series
from cfa.cloudops.autoscale.syntax import At, Formula, fail, refused_depth
from cfa.cloudops.autoscale.values import Interval, Option, Value

INSUFFICIENT = "InsufficientSampleData"
EVALUATION = "AutoScalingFormulaEvaluationError"

_NO_SAMPLES = Series((), ())


@frozen(kw_only=True)
class Situation:
    """What a formula can know: the time (UTC), the pool's nodes and targets, and samples by variable."""

    now: datetime
    series: Mapping[str, Series] = field(factory=dict)
    dedicated: int = 0
    low_priority: int = 0
    option: Option = Option.REQUEUE
    current_dedicated: int = 0
    current_low_priority: int = 0
    slots_per_node: int = 1


@frozen(kw_only=True)
class Run:
    """Targets that a formula gave, as whole numbers of at least 0, and all its variables as text."""

    now: datetime
    dedicated: int
    low_priority: int
    option: Option
    results: str
    warnings: tuple[str, ...] = ()


def evaluate(formula: Formula, situation: Situation) -> Run:
    """Evaluate a formula that `parse` has checked. Nothing is applied anywhere.

    Raises:
        FormulaError: it has no value now: samples are missing, or an operation has no result. With
            line, column and the service's code.
    """
    evaluation = _Evaluation(situation)
    for statement in formula.statements:
        if isinstance(statement, syntax.Stop):
            break
        with refused_depth(statement.at):
            evaluation.variables[statement.name] = evaluation.value(statement.value)
    return evaluation.run(formula)


class _Evaluation:
    def __init__(self, situation: Situation) -> None:
        self.variables: dict[str, Value] = {}
        self._situation = situation

    # --- the end

    def run(self, formula: Formula) -> Run:
        warnings: list[str] = []
        dedicated = self._target(values.DEDICATED, formula, warnings)
        low_priority = self._target(values.LOW_PRIORITY, formula, warnings)
        option: Any = self._settable(values.OPTION)
        shown: dict[str, Value] = {
            values.DEDICATED: float(dedicated),
            values.LOW_PRIORITY: float(low_priority),
            values.OPTION: option,
        }
        own = sorted(
            (name for name in self.variables if name not in values.SETTABLE),
            key=lambda name: (name.removeprefix("$"), name),
        )
        shown |= {name: self.variables[name] for name in own}
        return Run(
            now=self._situation.now,
            dedicated=dedicated,
            low_priority=low_priority,
            option=option,
            results=";".join(f"{name}={values.shown(value)}" for name, value in shown.items()),
            warnings=tuple(warnings),
        )

    def _target(self, name: str, formula: Formula, warnings: list[str]) -> int:
        """The number of nodes: cut toward zero, at least 0."""
        value: Any = self._settable(name)
        if value <= -1:
            at = _last_assignment(formula, name)
            where = f"Line {at.line}, column {at.column}: " if at else ""
            warnings.append(f"{where}{name} is {values.shown(value)}; 0 is taken.")
        return max(0, int(value))

    # --- expressions

    def value(self, expression: syntax.Expression) -> Value:
        match expression:
            case syntax.Number():
                _refuse_infinite(expression.at, expression.value)
                return expression.value
            case syntax.Text():
                return expression.value
            case syntax.Name():
                return self._name(expression)
            case syntax.Unary():
                operand: Any = self.value(expression.operand)
                return -operand if expression.operator == "-" else float(not operand)
            case syntax.Chain():
                return self._chain(expression)
            case syntax.Choice():
                chosen = self.value(expression.condition)
                return self.value(expression.chosen if chosen else expression.other)
            case syntax.Call():
                return self._call(expression)
            case syntax.Member():
                return self._member(expression)

    def _name(self, expression: syntax.Name) -> Value:
        name = expression.name
        if name in self.variables:
            return self.variables[name]
        if name in values.SETTABLE:
            return self._settable(values.ALIASES.get(name, name))
        if name in values.CONSTANTS:
            return values.CONSTANTS[name]
        if name in values.SAMPLED:
            newest = self._series(name).last(1)
            if not newest:
                fail(expression.at, f"{name} has no samples yet.", code=INSUFFICIENT)
            return newest[0]
        situation = self._situation
        match values.ALIASES.get(name, name):
            case "$CurrentDedicatedNodes":
                return float(situation.current_dedicated)
            case "$CurrentLowPriorityNodes":
                return float(situation.current_low_priority)
            case _:
                return float(situation.slots_per_node)

    def _settable(self, name: str) -> Value:
        """What a settable variable stands at: set here, set by its older name, or as it was."""
        older = next((old for old, new in values.ALIASES.items() if new == name), name)
        for one in (name, older):
            if one in self.variables:
                return self.variables[one]
        if name == values.OPTION:
            return self._situation.option
        situation = self._situation
        return float(situation.dedicated if name == values.DEDICATED else situation.low_priority)

    def _series(self, name: str) -> Series:
        return self._situation.series.get(name, _NO_SAMPLES)

    def _chain(self, expression: syntax.Chain) -> Value:
        left: Value = self.value(expression.first)
        for step in expression.steps:
            if step.operator in ("&&", "||") and bool(left) is (step.operator == "||"):
                left = float(bool(left))
                continue  # it is decided
            right = self.value(step.operand)
            apply = values.OPERATIONS[
                step.operator, values.kind_of(left), values.kind_of(right)
            ].apply
            try:
                left = apply(left, right)
            except (ArithmeticError, ValueError) as error:
                _no_result(step.at, repr(step.operator), error)
            _refuse_infinite(step.at, left)
        return left

    def _call(self, expression: syntax.Call) -> Value:
        arguments = [self.value(argument) for argument in expression.arguments]
        if expression.name == "time" and not arguments:
            return self._situation.now
        try:
            found = FUNCTIONS[expression.name].apply(*arguments)
        except NoElementsError as error:
            fail(expression.at, f"{error}.", "Guard it with GetSamplePercent().", INSUFFICIENT)
        except (ArithmeticError, ValueError) as error:
            _no_result(expression.at, f"{expression.name}()", error)
        _refuse_infinite(expression.at, found)
        return found

    def _member(self, expression: syntax.Member) -> Value:
        owner = expression.owner
        if isinstance(owner, syntax.Name) and owner.name in values.SAMPLED:
            arguments = [self.value(argument) for argument in expression.arguments or ()]
            return self._method(expression, owner.name, arguments)
        timestamp: Any = self.value(owner)
        return float(values.PARTS[expression.name](timestamp))

    # --- samples

    def _method(self, expression: syntax.Member, variable: str, arguments: list[Any]) -> Value:
        series = self._series(variable)
        name = expression.name
        if name == "Count":
            return float(len(series.times))
        if name == "GetSamplePeriod":
            return Interval.of(series.period_s)
        if name == "HistoryBeginTime":
            if not series.times:
                fail(expression.at, f"{variable} has no samples yet.", code=INSUFFICIENT)
            return series.begin()
        if len(arguments) == 1 and isinstance(arguments[0], float):
            return series.last(arguments[0])
        ends = [self._moment(one) for one in arguments if not isinstance(one, float)]
        start, end = ends[0], ends[1] if len(ends) > 1 else self._situation.now.timestamp()
        percent = series.percent(start, end)
        if name == "GetSamplePercent":
            return percent
        wanted = arguments[-1] if isinstance(arguments[-1], float) else 0.0
        if percent < wanted:
            fail(
                expression.at,
                f"{variable} has {percent:.3g} % of the samples of this time; it needs {wanted:g} %.",
                "Samples arrive over time; GetSamplePercent() tells how many there are.",
                INSUFFICIENT,
            )
        return series.between(start, end)

    def _moment(self, value: Interval | datetime) -> float:
        """Seconds since the epoch of a time, or of a look-back from now."""
        if isinstance(value, datetime):
            return value.timestamp()
        return self._situation.now.timestamp() - value.seconds


def _no_result(at: At, what: str, error: Exception) -> NoReturn:
    """Say why an operation has no result."""
    match error:
        case ZeroDivisionError():
            why = "division by zero"
        case OverflowError():
            why = "the result is too large"
        case _ if "math domain" in str(error) or "expected a positive" in str(error):
            why = "the logarithm of a number that is not above 0"
        case _:
            why = str(error)
    fail(at, f"{what} has no result: {why}.", code=EVALUATION)


def _refuse_infinite(at: At, value: Value) -> None:
    """Numbers that are none, such as 1e308 * 10, would end as a number of nodes."""
    numbers = value if isinstance(value, tuple) else (value,)
    if any(isinstance(one, float) and (one != one or abs(one) == float("inf")) for one in numbers):
        fail(at, "The result is too large.", code=EVALUATION)


def _last_assignment(formula: Formula, name: str) -> At | None:
    places = [
        statement.at
        for statement in formula.statements
        if isinstance(statement, syntax.Assign)
        and values.ALIASES.get(statement.name, statement.name) == name
    ]
    return places[-1] if places else None
