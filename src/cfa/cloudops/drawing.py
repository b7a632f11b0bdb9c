"""Drawings of a graph of tasks: as text, as a Mermaid flowchart, as a picture."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cfa.cloudops.dag import Graph
from cfa.cloudops.errors import (
    ExtraNotInstalledError,
    FileAccessError,
    InvalidInputError,
    LocalFileNotFoundError,
)

_log = logging.getLogger(__name__)

Point = tuple[float, float]

#: Characters. Where paths meet again and again, each line is indented further than the one above.
_LONGEST_TEXT = 10_000_000
#: Longer labels are cut in pictures.
_LONGEST_LABEL = 40
#: Inches. A PNG has at most 65,535 pixels on a side.
_ROW, _BOX, _LETTER, _GAP, _LONGEST_SIDE = 0.8, 0.3, 0.09, 0.35, 400.0
#: Dots per inch, fewer where a picture would take more memory than this.
_DPI, _MOST_DOTS = 100, 5e7
#: Boxes and arrows take milliseconds each; where there are more there are dots and lines.
_MOST_SHAPES = 5_000
_MERMAID = str.maketrans(
    {sign: f"#{ord(sign)};" for sign in '#"<>&`\\'} | {"\n": " ", "\r": " ", "\t": " "}
)


def check(file_name: str | os.PathLike[str]) -> Path:
    """The path of a drawing, if its ending is known.

    Raises:
        InvalidInputError: it is not.
    """
    path = Path(file_name)
    if path.suffix.lower() not in _KINDS:
        raise InvalidInputError(
            f"Cannot draw to {str(path)!r}: the suffix {path.suffix!r} is not known.",
            "Use .txt (text), .mmd (Mermaid), .svg or .png.",
        )
    return path


def draw(graph: Graph, labels: Sequence[str], path: Path) -> None:
    """Write a drawing, in the format of the path's ending. A file that exists is replaced.

    Raises:
        ExtraNotInstalledError: a picture was asked for, and the library for it is not installed.
        LocalFileNotFoundError: the folder does not exist.
        FileAccessError: the file cannot be written.
    """
    data = _KINDS[path.suffix.lower()](graph, [_printable(label) for label in labels])
    try:
        path.write_bytes(data)
    except FileNotFoundError:
        raise LocalFileNotFoundError(
            f"{str(path)!r} cannot be written: its folder does not exist.",
            "Create the folder first.",
        ) from None
    except OSError as error:
        raise FileAccessError(
            f"{str(path)!r} cannot be written: {error.strerror}.", "Name another file."
        ) from None


class Drawing:
    """A graph as a notebook shows it: a picture where one can be made, else text."""

    def __init__(self, graph: Graph, labels: Sequence[str]) -> None:
        self._graph = graph
        self._labels = [_printable(label) for label in labels]

    def __repr__(self) -> str:
        return _text(self._graph, self._labels).decode().rstrip("\n")

    def _repr_svg_(self) -> str | None:
        try:
            return _svg(self._graph, self._labels).decode()
        except (ExtraNotInstalledError, InvalidInputError):  # no library, or too many tasks
            return None


def _printable(label: str) -> str:
    """A label on one line, of what every format can hold, and never empty."""
    signs = (sign if sign.isprintable() else " " for sign in label)
    return " ".join("".join(signs).split()) or "-"


def _text(graph: Graph, labels: Sequence[str]) -> bytes:
    try:
        import networkx  # slow to import
    except ImportError:
        return _listing(graph, labels)
    drawn: Any = networkx.DiGraph()
    for index, label in enumerate(labels):
        drawn.add_node(index, label=label)
    drawn.add_edges_from(
        (parent, child) for child, parents in enumerate(graph.parents) for parent in parents
    )
    lines, size = [], 0
    for line in networkx.generate_network_text(drawn, ascii_only=True, vertical_chains=True):
        lines.append(line)
        size += len(line)
        if size > _LONGEST_TEXT:
            _log.warning("The drawing would be too wide; the tasks are listed instead.")
            return _listing(graph, labels)
    return "".join(f"{line}\n" for line in lines).encode()


def _listing(graph: Graph, labels: Sequence[str]) -> bytes:
    """Each task with those that it depends on."""
    return "".join(
        f"{labels[task]} <- {', '.join(labels[parent] for parent in parents)}\n"
        if parents
        else f"{labels[task]}\n"
        for task, parents in enumerate(graph.parents)
    ).encode()


def _mermaid(graph: Graph, labels: Sequence[str]) -> bytes:
    lines = ["flowchart TD"]
    lines += [f'    t{n}["{label.translate(_MERMAID)}"]' for n, label in enumerate(labels, 1)]
    lines += [
        f"    t{parent + 1} --> t{child + 1}"
        for child, parents in enumerate(graph.parents)
        for parent in parents
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _svg(graph: Graph, labels: Sequence[str]) -> bytes:
    return _picture(graph, labels, "svg", {"Date": None})


def _png(graph: Graph, labels: Sequence[str]) -> bytes:
    return _picture(graph, labels, "png", {})


_KINDS: dict[str, Callable[[Graph, Sequence[str]], bytes]] = {
    "": _text, ".txt": _text, ".mmd": _mermaid, ".svg": _svg, ".png": _png
}  # fmt: skip


def _picture(
    graph: Graph, labels: Sequence[str], kind: str, metadata: dict[str, str | None]
) -> bytes:
    """Tasks in rows, each below all that it depends on, joined by arrows."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise ExtraNotInstalledError(
            f"A picture (.{kind}) needs matplotlib, which is not installed.",
            "pip install 'cfa-cloudops[draw]', or name the file .txt or .mmd.",
        ) from None
    cut = [
        one if len(one) <= _LONGEST_LABEL else one[: _LONGEST_LABEL - 3] + "..." for one in labels
    ]
    places = _places(graph)
    rows = 1 + max((row for _, row in places), default=0)
    reach = max((abs(column) for column, _ in places), default=0.0)
    step = _LETTER * max(map(len, cut), default=0) + _GAP
    width, height = step * (2 * reach + 1), _ROW * rows
    boxes = len(labels) + sum(map(len, graph.parents)) <= _MOST_SHAPES
    if not boxes or max(width, height) > _LONGEST_SIDE:
        _log.warning("The picture is crowded. The formats .txt and .mmd show so many tasks better.")
        longest = _LONGEST_SIDE if boxes else _LONGEST_SIDE / 4
        width, height = min(width, longest), min(height, longest)
    points = [
        (width * (0.5 + column / (2 * reach + 1)), height * (1 - (row + 0.5) / rows))
        for column, row in places
    ]
    out = io.BytesIO()
    # Text stays text, and the same graph gives the same bytes.
    with (
        rc_context({"svg.fonttype": "none", "svg.hashsalt": "cloudops"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        dpi = min(_DPI, (_MOST_DOTS / (width * height)) ** 0.5)
        figure = Figure(figsize=(width, height), dpi=dpi)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        axes.set_axis_off()
        (_add_boxes if boxes else _add_dots)(axes, graph, points, cut)
        figure.savefig(out, format=kind, metadata=metadata)
    return out.getvalue()


def _add_boxes(axes: Any, graph: Graph, points: Sequence[Point], labels: Sequence[str]) -> None:
    """Labels in boxes, with arrows between them."""
    for (x, y), (end_x, end_y) in _lines(graph, points):
        start, end = (x, y - _BOX / 2), (end_x, end_y + _BOX / 2)
        axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "0.4"})
    box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.2"}
    for (x, y), label in zip(points, labels, strict=True):
        axes.text(x, y, label, ha="center", va="center", size=9, bbox=box, parse_math=False)


def _add_dots(axes: Any, graph: Graph, points: Sequence[Point], labels: Sequence[str]) -> None:
    """Dots joined by lines, without labels."""
    del labels
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(_lines(graph, points), colors="0.4", linewidths=0.5))
    axes.plot(*zip(*points, strict=True), linestyle="", marker="o", color="0.2")


def _lines(graph: Graph, points: Sequence[Point]) -> list[tuple[Point, Point]]:
    return [
        (points[parent], points[child])
        for child, parents in enumerate(graph.parents)
        for parent in parents
    ]


def _places(graph: Graph) -> list[tuple[float, int]]:
    """Column, 0 in the middle, and row of each task; a row's order follows that of its parents."""
    level: list[int] = []
    rows: list[list[int]] = []
    for task, parents in enumerate(graph.parents):
        level.append(1 + max((level[parent] for parent in parents), default=-1))
        rows.extend([] for _ in range(len(rows), level[-1] + 1))
        rows[level[-1]].append(task)
    column = [0.0] * len(level)
    for row in rows:
        above = {
            task: sum(column[parent] for parent in graph.parents[task])
            / (len(graph.parents[task]) or 1)
            for task in row
        }
        for index, task in enumerate(sorted(row, key=above.__getitem__)):
            column[task] = index - (len(row) - 1) / 2
    return list(zip(column, level, strict=True))
