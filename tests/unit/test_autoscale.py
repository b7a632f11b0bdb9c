"""The autoscale language: worked examples, types, operators, functions, samples."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops import autoscale
from cfa.cloudops.autoscale import Series, Situation, evaluate, parse
from cfa.cloudops.errors import FormulaError

NOW = datetime(2026, 3, 4, 22, 15, tzinfo=UTC)


def series(*values, now=NOW, period_s=30.0):
    """Samples of which the last is of now."""
    return Series.until(now, values, period_s)


def run(text, now=NOW, samples=None, **more):
    """The run of a formula."""
    found = {name: series(*values, now=now) for name, values in (samples or {}).items()}
    return evaluate(parse(text), Situation(now=now, series=found, **more))


def value(expression, before="", **more):
    """What an expression gives, as the service prints it."""
    results = run(f"{before} the_result = {expression};", **more).results
    return dict(one.split("=", 1) for one in results.split(";"))["the_result"]


def refused(text, **more):
    """The error of a formula."""
    with pytest.raises(FormulaError) as caught:
        run(text, **more)
    assert f"Line {caught.value.line}, column {caught.value.column}: " in str(caught.value)
    return caught.value


# --- worked examples ------------------------------------------------------------------------------

SLOTS = """
slots = {slots}; cap = 10;
have = $PendingTasks.GetSamplePercent(TimeInterval_Minute * 5);
load = have < 60 ? 0 : avg($PendingTasks.GetSample(TimeInterval_Minute * 5));
$TargetDedicatedNodes = min(cap, {wanted});
$NodeDeallocationOption = taskcompletion;
"""
EIGHT = (12, 12, 14, 14, 16, 18, 18, 20, None, None)
FIVE = (12, 12, 14, 14, 16, None, None, None, None, None)


@pytest.mark.parametrize(
    ("slots", "wanted", "samples", "nodes"),
    [
        (4, "load / slots", EIGHT, 3),
        (4, "ceil(load / slots)", EIGHT, 4),
        (4, "load / slots", FIVE, 0),
        (1, "load / slots", EIGHT, 10),
    ],
)
def test_slots_guard_and_cap(slots, wanted, samples, nodes):
    """Load by slots, guarded by the part of the samples that is there, with a cap."""
    found = run(SLOTS.format(slots=slots, wanted=wanted), samples={"$PendingTasks": samples})
    assert (found.dedicated, found.low_priority) == (nodes, 0)


def test_results_as_the_service_prints_them():
    """Results name the settable variables first, then all others in alphabetical order."""
    found = run(SLOTS.format(slots=4, wanted="load / slots"), samples={"$PendingTasks": EIGHT})
    assert found.results == (
        "$TargetDedicatedNodes=3;$TargetLowPriorityNodes=0;$NodeDeallocationOption=taskcompletion;"
        "cap=10;have=80;load=15.5;slots=4"
    )


TIMES = """
local = time() + (-6 * TimeInterval_Hour);
busy = local.weekday >= 1 && local.weekday <= 5 && local.hour >= 8 && local.hour < 18;
v = $RunningTasks.GetSample(TimeInterval_Minute, 3 * TimeInterval_Minute);
base = sum(v, 4) / len(v);
spread = range(v) / (std(v) + 1);
$TargetDedicatedNodes = busy ? max(base, spread * 3) : 1;
$TargetLowPriorityNodes = (norm(3, 4) == 5) && !(lg(8) != 3) ? val(v, 1) : 0;
"""


def test_time_vectors_and_logic():
    """Local hours, a window in the past, statistics of it, and logic."""
    samples = {"$RunningTasks": (2, 4, 4, 6, None, None)}
    found = run(TIMES, samples=samples)
    assert (found.dedicated, found.low_priority) == (5, 4)
    assert "base=5;busy=1;local=2026-03-04T16:15:00.000Z;spread=1.51918" in found.results
    assert "v=[2,4,4,6]" in found.results
    evening = datetime(2026, 3, 5, 1, tzinfo=UTC)
    assert run(TIMES, samples=samples, now=evening).dedicated == 1


SEEN = """
$TargetDedicatedNodes = 2;
seen = $ActiveTasks.GetSample(TimeInterval_Minute * 10, {percent});
$TargetDedicatedNodes = len(seen);
"""


@pytest.mark.promise(
    "create_pool",
    "Fewer samples than a formula asks for fail the whole evaluation.",
    local="`InsufficientSampleData`",
)
def test_too_few_samples():
    """Fewer samples than asked for fail the whole evaluation; enough of them do not."""
    samples = {"$ActiveTasks": (1,) * 18 + (None, None)}
    error = refused(SEEN.format(percent=95), samples=samples, dedicated=7)
    assert (error.code, error.line) == ("InsufficientSampleData", 3)
    assert "90 %" in str(error)
    assert "95 %" in str(error)
    assert run(SEEN.format(percent=80), samples=samples).dedicated == 18


@pytest.mark.parametrize(
    "text",
    [
        "$TargetDedicatedNodes = 4; $TargetDedicated = 9;",
        "$TargetDedicated = 9; $TargetDedicatedNodes = 4;",
    ],
)
def test_full_name_wins_over_alias(text):
    """Whatever the order, the full name of a target wins over its older one."""
    assert run(text).dedicated == 4


def test_alias_alone():
    """The older names of the targets alone set them."""
    found = run("$TargetDedicated = 2; $TargetLowPriority = 3")
    assert (found.dedicated, found.low_priority) == (2, 3)


def test_precedence_and_truth():
    """Sums bind tighter than comparisons, these than logic, that than a choice."""
    assert run("$TargetDedicatedNodes = 2 + 3 * 2 > 7 && !0 ? 7 / 4 : 100").dedicated == 1


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("avg(v * 2 + v)", "6"),
        ("avg(v, 7)", "3.25"),
        ("len(v, v, 1)", "7"),
        ("percentile(v, 50)", "2"),
    ],
)
def test_vector_arithmetic(expression, expected):
    """Vectors are added and multiplied element by element and flattened in lists."""
    before = "v = $ActiveTasks.GetSample(3);"
    assert value(expression, before, samples={"$ActiveTasks": (1, 2, 3)}) == expected


# --- ready-made formulas --------------------------------------------------------------------------


@pytest.mark.promise(
    "create_pool",
    "Ready-made formulas follow the tasks that are pending, up to their cap.",
    local="the default one up to `max_autoscale_nodes`",
)
@pytest.mark.parametrize(
    ("text", "dedicated", "cap"),
    [
        (autoscale.dev_autoscale_formula, False, 5),
        (autoscale.prod_autoscale_formula, True, 25),
        (autoscale.remaining_task_autoscale_formula(), False, 10),
        (autoscale.remaining_task_autoscale_formula(15, 3), False, 3),
    ],
)
def test_ready_made(text, dedicated, cap):
    """A ready-made formula needs nothing, follows what is pending at once, and stops at its cap."""
    assert parse(text).notes == ()
    for pending in (0, 1, 2, cap + 1):
        found = run(text, samples={"$PendingTasks": (pending,)})
        nodes = min(cap, pending)
        assert (found.dedicated, found.low_priority) == ((nodes, 0) if dedicated else (0, nodes))
    nothing = run(text)
    assert (nothing.dedicated, nothing.low_priority) == (0, 0)
    assert nothing.option.value == "taskcompletion"


def test_ready_made_looks_back():
    """With enough samples the ready-made formula lets a burst fade instead of dropping at once."""
    text = autoscale.remaining_task_autoscale_formula(5, 10)
    assert run(text, samples={"$PendingTasks": (8,) * 9 + (0,)}).low_priority == 8
    assert run(text, samples={"$PendingTasks": (0,) * 9 + (6,)}).low_priority == 6


# --- operators and types --------------------------------------------------------------------------

VALUES = """
d = 6; s = "b"; t = time("2026-03-04T12:00:00Z"); i = TimeInterval_Hour;
v = $ActiveTasks.GetSample(2);
"""
SAMPLES = {"$ActiveTasks": (2, 4)}

#: Operator and operands -> result. What is not here is a type error.
TABLE = {
    "d + d": "12", "d - 2": "4", "d * 2": "12", "d / 4": "1.5",
    "d * i": "06:00:00", "i * d": "06:00:00", "i / 2": "00:30:00",
    "v + 1": "[3,5]", "v - 1": "[1,3]", "v * 2": "[4,8]", "v / 2": "[1,2]",
    "v + v": "[4,8]", "v - v": "[0,0]", "v * v": "[4,16]", "v / v": "[1,1]",
    "i + i": "02:00:00", "i - i": "00:00:00",
    "i + t": "2026-03-04T13:00:00.000Z", "t + i": "2026-03-04T13:00:00.000Z",
    "t - t": "00:00:00",
    "-d": "-6", "!d": "0", "!0": "1", "--d": "6",
    "d && 0": "0", "d && 2": "1", "0 || 0": "0", "0 || 3": "1",
    # tolerated, with a note
    "d + v": "[8,10]", "d - v": "[4,2]", "d * v": "[12,24]", "d / v": "[3,1.5]",
    "t - i": "2026-03-04T11:00:00.000Z",
}  # fmt: skip
EXTENSIONS = {"d + v", "d - v", "d * v", "d / v", "t - i"}


@pytest.mark.parametrize("expression", TABLE)
def test_operators(expression):
    """Every operator gives what the table of the language says, a note where it does not say it."""
    assert value(expression, VALUES, samples=SAMPLES) == TABLE[expression]
    notes = parse(f"{VALUES} x = {expression};").notes
    assert bool(notes) == (expression in EXTENSIONS)


@pytest.mark.parametrize("name", "dsti")
def test_comparisons(name):
    """Numbers, texts, times and spans are compared with their like; the result is 1 or 0."""
    for sign, truth in {"<": 0, "<=": 1, "==": 1, ">=": 1, ">": 0, "!=": 0}.items():
        assert value(f"{name} {sign} {name}", VALUES, samples=SAMPLES) == str(truth)


OPERATORS = ("+", "-", "*", "/", "<", "<=", "==", ">=", ">", "!=", "&&", "||")
KNOWN = {tuple(text.split()) for text in TABLE if len(text.split()) == 3}
KNOWN = {(a if a.isalpha() else "d", sign, b if b.isalpha() else "d") for a, sign, b in KNOWN}
KNOWN |= {(name, sign, name) for name in "dsti" for sign in OPERATORS[4:10]}


@pytest.mark.parametrize("sign", OPERATORS)
@pytest.mark.parametrize("left", "dstivo")
@pytest.mark.parametrize("right", "dstivo")
def test_no_other_operators(left, sign, right):
    """Whatever is not in the table is a type error at the operator, before anything is evaluated."""
    text = f"{VALUES} o = requeue;\nx = {left} {sign} {right};"
    if (left, sign, right) in KNOWN:
        parse(text)
        return
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert caught.value.code == "AutoScalingFormulaSyntaxError"
    assert caught.value.column == 7


@pytest.mark.parametrize("operand", "stivo")
@pytest.mark.parametrize("sign", "-!")
def test_signs_are_for_numbers(sign, operand):
    """A sign before anything but a number is a type error."""
    refused(f"{VALUES} o = requeue; x = {sign}{operand};", samples=SAMPLES)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 ? 2 : 3 ? 4 : 5", "2"),
        ("0 ? 2 : 0 ? 4 : 5", "5"),
        ("0 ? 1 / 0 : 7", "7"),
        ("0 && 1 / 0", "0"),
        ("1 || 1 / 0", "1"),
        ("10 - 2 - 3", "5"),
        ("16 / 4 / 2", "2"),
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("1 < 2 == 1", "1"),
        ("0 || 1 && 0", "0"),
        ("-2 * -3", "6"),
        ('"a" < "b"', "1"),
        (".5 + 1.5e1", "15.5"),
        ("0.1 + 0.2", repr(0.1 + 0.2)),
        ("TimeInterval_Week / 7 == TimeInterval_Day", "1"),
        ("TimeInterval_100ns * 10 == TimeInterval_Microsecond", "1"),
        ("TimeInterval_Year == TimeInterval_Day * 365", "1"),
        ("TimeInterval_Minute * -1.5", "-00:01:30"),
        ("TimeInterval_Day * 2 + TimeInterval_Millisecond", "2.00:00:00.0010000"),
    ],
)
def test_order_of_evaluation(expression, expected):
    """Precedence, associativity, lazy arms and the spelling of results."""
    assert value(expression) == expected


# --- functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("avg(1, 2, v)", "2.25"),
        ("ceil(1.2)", "2"),
        ("ceil(v / 3)", "[1,2]"),
        ("ceil(1.2, 2.5)", "[2,3]"),
        ("floor(-1.2)", "-2"),
        ("round(2.5)", "3"),
        ("round(-2.5)", "-3"),
        ("round(2.4)", "2"),
        ("len()", "0"),
        ("lg(8)", "3"),
        ("lg(v)", "[1,2]"),
        ("ln(1)", "0"),
        ("log(1000)", str(math.log10(1000)).removesuffix(".0")),
        ("max(1, v, 3)", "4"),
        ("min(3, v)", "2"),
        ("norm(3, 4)", "5"),
        ("percentile(v, 0)", "2"),
        ("percentile(v, 100)", "4"),
        ("percentile(v, 25)", "2.5"),
        ("range(1, v)", "3"),
        ("std(5)", "0"),
        ("std(2, 4, 4, 6) < 1.6330", "1"),
        ("sum(v, 1)", "7"),
        ("sum()", "0"),
        ("val(v, 0)", "2"),
        ("val(v, 1)", "4"),
        ("rand() >= 0 && rand() < 1", "1"),
        ("time() == time()", "1"),
        ('time("2026-03-04T22:15:00Z") == time()', "1"),
        ('time("Wed, 04 Mar 2026 22:15:00 GMT") == time()', "1"),
        ('time("2026-03-05T00:15:00+02:00") == time()', "1"),
        ('time("2026-03-04") < time()', "1"),
        ('time("2026-03-08").weekday', "0"),
        ('time("2026-03-02").weekday', "1"),
        ("time().year + time().month + time().day", "2033"),
        ("time().hour * 100 + time().minute + time().second", "2215"),
        ("vec(1, v)", "[1,2,4]"),
    ],
)
def test_functions(expression, expected):
    """Every function gives what the documentation says."""
    assert value(expression, VALUES, samples=SAMPLES) == expected


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("1 / 0", "division by zero"),
        ("TimeInterval_Hour / 0", "division by zero"),
        ("ln(0)", "not above 0"),
        ("lg(-1)", "not above 0"),
        ("log(0)", "not above 0"),
        ("val(v, 2)", "no element 2"),
        ("val(v, -1)", "no element -1"),
        ("percentile(v, 101)", "between 0 and 100"),
        ('time("yesterday")', "not a date and time"),
        ("1e308 * 10", "too large"),
        ("1e400", "too large"),
        ("v + $ActiveTasks.GetSample(1)", "2 and 1 elements"),
        ("TimeInterval_Year * 1e9 + time()", "too large"),
    ],
)
def test_no_result(expression, words):
    """What has no result fails the evaluation at its place, not before."""
    error = refused(f"{VALUES}\n x = {expression};", samples=SAMPLES)
    assert words in str(error)
    assert error.code == "AutoScalingFormulaEvaluationError"


@pytest.mark.parametrize("name", ["avg", "max", "min", "range", "std"])
def test_of_nothing(name):
    """A reduction of no samples at all says that samples are missing."""
    error = refused(f"x = {name}($ActiveTasks.GetSample(TimeInterval_Hour));")
    assert error.code == "InsufficientSampleData"


# --- samples --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("GetSample(2)", "[5,6]"),
        ("GetSample(99)", "[1,2,3,4,5,6]"),
        ("GetSample(0)", "[]"),
        ("GetSample(TimeInterval_Minute)", "[5,6]"),
        ("GetSample(TimeInterval_Minute * 3)", "[1,2,3,4,5,6]"),
        ("GetSample(TimeInterval_Minute * 3, TimeInterval_Minute)", "[1,2,3,4]"),
        ("GetSample(TimeInterval_Minute, TimeInterval_Minute * 3)", "[1,2,3,4]"),
        ("GetSample(TimeInterval_Minute, TimeInterval_Minute * 3, 100)", "[1,2,3,4]"),
        ("GetSample(time() + (-1 * TimeInterval_Minute))", "[5,6]"),
        ("GetSample(TimeInterval_Minute * 3, 100)", "[1,2,3,4,5,6]"),
        ("GetSamplePercent(TimeInterval_Minute * 3)", "100"),
        ("GetSamplePercent(TimeInterval_Minute * 6)", "50"),
        ("GetSamplePercent(TimeInterval_Minute, TimeInterval_Minute * 5)", "50"),
        ("GetSamplePeriod()", "00:00:30"),
        ("Count()", "6"),
        ("HistoryBeginTime()", "2026-03-04T22:12:30.000Z"),
    ],
)
def test_methods_of_samples(expression, expected):
    """Samples are read by number, by look-back and by time; a window's older end is outside."""
    samples = {"$ActiveTasks": (1, 2, 3, 4, 5, 6)}
    assert value(f"$ActiveTasks.{expression}", samples=samples) == expected


def test_variable_as_a_number():
    """A variable without a method is its newest sample, with a note."""
    assert value("$PendingTasks / 4", samples={"$PendingTasks": (1, 8)}) == "2"
    assert "newest sample" in parse("x = $PendingTasks / 4").notes[0].text
    assert refused("x = $PendingTasks").code == "InsufficientSampleData"


def test_plain_variables():
    """Numbers of nodes and slots are plain numbers, under their older names too."""
    known = {"current_dedicated": 2, "current_low_priority": 3, "slots_per_node": 4}
    assert value("$CurrentDedicatedNodes * $CurrentLowPriorityNodes", **known) == "6"
    assert value("$CurrentDedicated * $TaskSlotsPerNode", **known) == "8"


# --- effect ---------------------------------------------------------------------------------------


def test_targets_that_are_not_set_stay():
    """What a formula does not set keeps its value, and can be read."""
    found = run("$TargetLowPriorityNodes = $TargetDedicatedNodes + 1", dedicated=4, low_priority=9)
    assert (found.dedicated, found.low_priority) == (4, 5)
    assert run("", dedicated=4).dedicated == 4


def test_stop_keeps_what_was_set():
    """`stop()` ends the evaluation; what was set before counts."""
    assert run("$TargetDedicatedNodes = 2; stop(); $TargetDedicatedNodes = 1 / 0").dedicated == 2


@pytest.mark.parametrize(
    ("wanted", "nodes", "warned"),
    [("0.5", 0, 0), ("2.9", 2, 0), ("-0.5", 0, 0), ("-3", 0, 1), ("1e300", int(1e300), 0)],
)
def test_whole_targets(wanted, nodes, warned):
    """Targets are cut toward zero; a negative one is 0, with a warning."""
    found = run(f"$TargetDedicatedNodes = {wanted}")
    assert (found.dedicated, len(found.warnings)) == (nodes, warned)


def test_two_names():
    """`x` and `$x` are two variables, as are `x` and `X`; a variable may be assigned again."""
    assert value("x * 100 + $x * 10 + X", "x = 1; $x = 2; X = 3; x = x ? 4 : x;") == "423"


@given(st.integers(0, 200), st.integers(1, 24 * 60), st.sampled_from([1.0, 5.0, 30.0]))
def test_a_window_never_has_more_than_all_samples(count, minutes, period_s):
    """However many samples there are, a window has at most all it can have, and says so."""
    found = Series.until(NOW, [1.0] * count, period_s)
    end = NOW.timestamp()
    start = (NOW - timedelta(minutes=minutes)).timestamp()
    expected = minutes * 60 / period_s
    assert len(found.between(start, end)) == min(count, expected)
    assert found.percent(start, end) == pytest.approx(min(100, 100 * count / expected))
