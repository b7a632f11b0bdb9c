"""Parameter files: the three schemas, command lines, errors that name file and key."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops.errors import FileAccessError, InvalidInputError, LocalFileNotFoundError
from cfa.cloudops.parameters import command_line, command_lines, expand, parameter_sets
from cfa.cloudops.service.definitions import split_command

SOLVERS = """\
schema: v0.3
parameters:
  method: {vary: [newton, brent]}
  start_point:
    if: {equals: {method: newton}}
    vary: [0.25, 0.5, 0.75]
  bounds:
    if: {equals: {method: brent}}
    fix: [0.0, 1.0]
    comment: where the root is
  check(flag): {fix: x, if: {equals: {method: brent}}}
"""


def v03(**parameters):
    return expand({"schema": "v0.3", "parameters": parameters}, "p.yaml")


class TestCommandLine:
    """From a set to a command line."""

    @pytest.mark.parametrize("base_cmd", ["", " ", None, ["python3", "main.py"]])
    def test_no_command(self, tmp_path, base_cmd):
        """A first part that is empty or no text is refused."""
        (tmp_path / "p.yaml").write_text("schema: v0.3\nparameters: {a: {fix: 1}}\n")
        with pytest.raises(InvalidInputError, match="is not a command"):
            command_lines(base_cmd, tmp_path / "p.yaml")

    @pytest.mark.promise(
        "add_tasks_from_yaml",
        "The sample of the documentation gives its four command lines.",
        local="one blank between the command and its arguments",
        cloud="the same, with two blanks",
    )
    def test_the_solvers(self, tmp_path):
        """The sample of the documentation gives its four commands, in order."""
        path = tmp_path / "p.yaml"
        path.write_text(SOLVERS)
        assert command_lines("python3 main.py", path) == [
            "python3 main.py --method brent --bounds '[0.0, 1.0]' --check",
            "python3 main.py --method newton --start_point 0.25",
            "python3 main.py --method newton --start_point 0.5",
            "python3 main.py --method newton --start_point 0.75",
        ]

    @pytest.mark.parametrize(
        ("values", "text"),
        [
            ({}, "cmd"),
            ({"a": 1}, "cmd --a 1"),
            ({"a": True, "b": None, "c": 0.5}, "cmd --a True --b None --c 0.5"),
            ({"f(flag)": "x"}, "cmd --f"),
            ({"f(flag)": ""}, "cmd"),
            ({"f(flag)": False, "g(flag)": None}, "cmd --f --g"),
            ({"a": "plain"}, "cmd --a plain"),
            ({"a": "two words"}, "cmd --a 'two words'"),
            ({"a": ""}, "cmd --a ''"),
            ({"a": [0.1]}, "cmd --a [0.1]"),
            ({"a": [0.1, 2]}, "cmd --a '[0.1, 2]'"),
            ({"a": "$HOME;x|y*"}, "cmd --a $HOME;x|y*"),
            ({"a": -1}, "cmd --a -1"),
        ],
    )
    def test_table(self, values, text):
        """Values are written as Python does, and quoted only where they must be."""
        assert command_line("cmd ", values) == text

    @pytest.mark.promise(
        "add_tasks_from_yaml",
        "A value with blanks in it is one argument.",
        local="quoted where it must be",
        cloud="not quoted: split at blanks",
        difference="quote-sensitive values differ",
    )
    @given(st.dictionaries(st.text(), st.one_of(st.text(), st.floats(), st.lists(st.text()))))
    def test_one_argument_each(self, values):
        """Whatever a value is, the program finds it as exactly one argument."""
        values = {name: one for name, one in values.items() if not name.endswith("(flag)")}
        expected = ["cmd"]
        for name, value in values.items():
            expected += [f"--{name}", str(value)]
        assert shlex.split(command_line("cmd", values)) == expected

    @given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
    def test_as_the_service_splits(self, value):
        """The service splits commands as the quoting expects."""
        assert split_command(command_line("cmd", {"a": value})) == ["cmd", "--a", value]


class TestV03:
    """Schema v0.3."""

    @pytest.mark.promise(
        "add_tasks_from_yaml",
        "The order of arguments and tasks.",
        local="that of the file, the last parameter moving fastest",
        cloud="changes from run to run",
        difference="the order is not to be relied on there",
    )
    def test_file_order(self):
        """Parameters and sets come in the order of the file, the last one moving fastest."""
        found = v03(b={"vary": [1, 2]}, a={"fix": 0}, c={"vary": ["x", "y"]})
        assert [list(one) for one in found] == [["b", "a", "c"]] * 4
        assert [(one["b"], one["c"]) for one in found] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]

    def test_conditional_comes_last(self):
        """Unconditional parameters come first, wherever they stand."""
        condition = {"equals": {"b": 1}}
        found = v03(a={"fix": 0, "if": condition}, b={"vary": [1, 2]})
        assert found == [{"b": 1, "a": 0}, {"b": 2}]

    def test_bundle(self):
        """A bundle's lists advance together, and its own name does not appear."""
        found = v03(place={"state": ["CA", "NY"], "seed": [1, 2]}, x={"fix": 0})
        assert found == [{"state": "CA", "seed": 1, "x": 0}, {"state": "NY", "seed": 2, "x": 0}]

    def test_empty(self):
        """No parameters make one empty set; a parameter without values makes none."""
        assert v03() == [{}]
        assert v03(a={"vary": []}, b={"fix": 1}) == []

    def test_chained_conditions(self):
        """A condition may be about a conditional parameter above."""
        found = v03(
            a={"vary": [1, 2]},
            b={"fix": "y", "if": {"equals": {"a": 1}}},
            c={"fix": "z", "if": {"equals": {"b": "y"}}},
        )
        assert found == [{"a": 1, "b": "y", "c": "z"}, {"a": 2}]

    def test_condition_on_nothing(self, caplog):
        """A parameter whose condition names nothing is left out, with a warning."""
        assert v03(a={"fix": 1}, b={"fix": 2, "if": {"equals": {"aa": 1}}}) == [{"a": 1}]
        assert "p.yaml: parameters b: is left out" in caplog.text
        assert "'aa'" in caplog.text

    def test_true_is_not_one(self):
        """A condition on `true` does not hold for 1."""
        found = v03(a={"vary": [1, True]}, b={"fix": 0, "if": {"equals": {"a": True}}})
        assert [one.get("b") for one in found] == [0, None]

    def test_collision(self):
        """Of two values for one name the later one wins."""
        assert v03(a={"fix": 1}, bundle={"a": [2]}) == [{"a": 2}]

    @pytest.mark.promise(
        "add_tasks_from_yaml",
        "`version` is taken for `schema`.",
        local="both, when they agree",
        cloud="depends on the version of the parser",
        difference="write `schema`",
    )
    def test_version_alias(self):
        """`version` means `schema`; both may stand there when they agree."""
        parameters = {"a": {"fix": 1}}
        assert expand({"version": "v0.3", "parameters": parameters}) == [{"a": 1}]
        both = {"version": "v0.3", "schema": "v0.3", "parameters": parameters}
        assert expand(both) == [{"a": 1}]

    @pytest.mark.promise(
        "add_tasks_from_yaml",
        "A file that does not follow its schema is an error.",
        local="`ValueError` with file and key",
        cloud="the parser's own errors",
        difference="the type of the error",
    )
    @pytest.mark.parametrize(
        ("part", "says"),
        [
            (3, "parameters a: must be a mapping"),
            ({}, "parameters a: it is empty"),
            ({"fix": 1, "vary": [1]}, "parameters a: it must have either"),
            ({"comment": "x"}, "parameters a: it must have either"),
            ({"fix": 1, "other": 2}, "parameters a: 'other' is not known"),
            ({"if": {"equals": {"b": 1}}, "x": [1]}, "parameters a: a bundle has .* not 'if'"),
            ({"vary": 3}, "parameters a vary: must be a list"),
            ({"vary": {"x": [1]}}, "parameters a vary: must be a list.*A: "),
            ({"x": 1}, "parameters a x: must be a list"),
            ({"x": [1], "y": [1, 2]}, r"parameters a: its lists .*x: 1, y: 2"),
            ({"fix": 1, "if": True}, "parameters a if: must be a mapping"),
            ({"fix": 1, "if": {}}, "parameters a if: it must have 'equals'"),
            ({"fix": 1, "if": {"equals": {}}}, "parameters a if equals: it must have exactly one"),
            (
                {"fix": 1, "if": {"equals": {"b": 1, "c": 2}}},
                "parameters a if equals: it must .*, not 2",
            ),
        ],
    )
    def test_errors(self, part, says):
        """What does not follow the schema is refused, with file and key."""
        with pytest.raises(InvalidInputError, match=f"p.yaml: {says}"):
            v03(a=part)


class TestV01:
    """Schema v0.1."""

    @pytest.mark.promise(
        "add_tasks_from_yaml",
        "Schema v0.1: the grid varies, the baseline wins.",
        local="as documented",
    )
    def test_grid_and_baseline(self):
        """The grid varies, the last one fastest; the baseline wins."""
        found = expand(
            {
                "schema": "v0.1",
                "baseline_parameters": {"b": 9, "z": 0},
                "grid_parameters": {"a": [1, 2], "b": [1]},
            }
        )
        assert found == [{"a": 1, "b": 9, "z": 0}, {"a": 2, "b": 9, "z": 0}]

    def test_nests(self):
        """A set takes the nest that shares a value with it, and the nest wins."""
        found = expand(
            {
                "schema": "v0.1",
                "baseline_parameters": {"x": 0},
                "grid_parameters": {"m": ["n", "b", "o"]},
                "nested_parameters": [{"m": "n", "s": 1, "x": 5}, {"m": "b", "s": 2}],
            }
        )
        assert found == [{"m": "n", "x": 5, "s": 1}, {"m": "b", "x": 0, "s": 2}, {"m": "o", "x": 0}]

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ({}, "needs 'baseline_parameters' or"),
            ({"baseline_parameters": {}, "other": 1}, "'other' is not known"),
            ({"baseline_parameters": [1]}, "baseline_parameters: must be a mapping"),
            ({"grid_parameters": {"a": 1}}, "grid_parameters a: must be a list"),
            (
                {"baseline_parameters": {}, "nested_parameters": []},
                "nested_parameters: it needs 'grid",
            ),
            (
                {"grid_parameters": {"a": [1]}, "nested_parameters": [{"a": 2}]},
                r"nested_parameters \[0\]: it fits no",
            ),
            (
                {"grid_parameters": {"a": [1]}, "nested_parameters": [{"a": 1}, {"a": 1, "b": 2}]},
                r"nested_parameters: several of them \(0, 1\)",
            ),
        ],
    )
    def test_errors(self, content, says):
        """What does not follow the schema is refused, with file and key."""
        with pytest.raises(InvalidInputError, match=f"p.yaml: .*{says}|p.yaml: it {says}"):
            expand({"schema": "v0.1", **content}, "p.yaml")


class TestV04:
    """Schema v0.4."""

    @pytest.mark.promise(
        "add_tasks_from_yaml",
        "Schema v0.4: unions follow one another, of products the right value wins.",
        local="as documented",
    )
    def test_union_and_product(self):
        """Unions follow one another; of products the right value wins and the right moves fastest."""
        found = expand(
            {
                "schema": "v0.4",
                "experiment": {
                    "union": [
                        [{"z": 0}],
                        {"product": [[{"a": 1}, {"a": 2}], [{"b": 1}, {"a": 9}]]},
                    ]
                },
            }
        )
        assert found == [{"z": 0}, {"a": 1, "b": 1}, {"a": 9}, {"a": 2, "b": 1}, {"a": 9}]

    def test_empty_list(self):
        """An empty list has no sets."""
        assert expand({"schema": "v0.4", "experiment": []}) == []

    @pytest.mark.parametrize(
        ("experiment", "says"),
        [
            (3, "experiment: must be a mapping"),
            ([1], r"experiment \[0\]: must be a mapping"),
            ({"union": []}, "experiment union: it is empty"),
            ({"product": []}, "experiment product: it is empty"),
            ({"union": [[], 3]}, r"experiment union \[1\]: must be a mapping"),
            ({"both": []}, "experiment: it must have either"),
            ({"union": [[]], "product": [[]]}, "experiment: it must have either"),
            ({"union": {}}, "experiment union: must be a list"),
        ],
    )
    def test_errors(self, experiment, says):
        """What does not follow the schema is refused, with file and place."""
        with pytest.raises(InvalidInputError, match=f"p.yaml: {says}"):
            expand({"schema": "v0.4", "experiment": experiment}, "p.yaml")


class TestFile:
    """Reading the file."""

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "must be a mapping"),
            ("- 1\n", "must be a mapping"),
            ("parameters: {}\n", "names no schema"),
            ("schema: v0.2\nparameters: {}\n", "'v0.2' is not known"),
            ("schema: v0.3\nversion: v0.1\n", "differ"),
            ("schema: v0.3\n", "'parameters' is missing"),
            ("schema: v0.3\nparameters: {}\nmore: 1\n", "'more' is not known"),
            ("schema: v0.3\nparameters: {1: {fix: 1}}\n", "parameters: the name 1 is not text"),
            ("schema: [v0.3\n", "not valid YAML.*line"),
            ("a: 1\n---\nb: 2\n", "not valid YAML"),
            (
                "schema: v0.3\nparameters:\n  a: {fix: 1}\n  a: {fix: 2}\n",
                "'a' appears twice, .* 4",
            ),
            ("schema: v0.4\nexperiment: &a {union: [*a]}\n", "experiment: it is nested too deeply"),
            ("a: " + "[" * 3000 + "]" * 3000, "not valid YAML"),
            ("schema: v0.3\nparameters: !!python/object:os.system {}\n", "not valid YAML"),
        ],
    )
    def test_errors(self, tmp_path, text, says):
        """A bad file is refused with its name."""
        path = tmp_path / "p.yaml"
        path.write_text(text)
        with pytest.raises(InvalidInputError, match=rf"p\.yaml: .*{says}"):
            parameter_sets(path)

    def test_unreadable(self, tmp_path):
        """A file that is absent, a folder, or not text is refused with its name."""
        with pytest.raises(LocalFileNotFoundError, match="no parameter file"):
            parameter_sets(tmp_path / "absent.yaml")
        with pytest.raises(FileAccessError, match="cannot be read"):
            parameter_sets(tmp_path)
        (tmp_path / "p.yaml").write_bytes(b"\xff\xfe\xff")
        with pytest.raises(InvalidInputError, match="not UTF-8"):
            parameter_sets(tmp_path / "p.yaml")

    def test_anchors(self, tmp_path):
        """Anchors and merged mappings are YAML as well."""
        path = tmp_path / "p.yaml"
        path.write_text("schema: v0.4\nexperiment:\n- &a {x: 1}\n- {<<: *a, y: 2}\n- *a\n")
        assert parameter_sets(path) == [{"x": 1}, {"x": 1, "y": 2}, {"x": 1}]

    def test_no_sets(self, tmp_path, caplog):
        """A file without sets is no error, but is told of."""
        path = tmp_path / "p.yaml"
        path.write_text("schema: v0.4\nexperiment: []\n")
        assert parameter_sets(path) == []
        assert "no parameter set" in caplog.text
