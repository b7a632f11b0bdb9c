"""Opens one node and waits to be killed: the part of the executor kit with its own process.

Reads one JSON object on standard input: `module` and `cls` of the executor, its `options`, and the
`spec`; `request` makes it. Prints the node's engine id and then whatever the node prints.
"""

from __future__ import annotations

import importlib
import json
import selectors
import sys
from typing import Any

import attrs

from cfa.cloudops.model.values import Resources
from cfa.cloudops.provider.executor import Bind, Executor, NodeSpec


def request(executor: Executor, spec: NodeSpec) -> bytes:
    """What to feed to `main` so that it opens `spec` with an executor like this one."""
    cls = type(executor)
    return json.dumps(
        {
            "module": cls.__module__,
            "cls": cls.__qualname__,
            "options": executor.options,
            "spec": attrs.asdict(spec),
        }
    ).encode()


def _spec(values: dict[str, Any]) -> NodeSpec:
    return NodeSpec(
        **{
            **values,
            "argv": tuple(values["argv"]),
            "binds": tuple(Bind(**bind) for bind in values["binds"]),
            "resources": Resources(**values["resources"]),
        }
    )


def main() -> None:
    """Open the node, say so, pass its output on until it ends. Meant to be killed meanwhile."""
    asked = json.loads(sys.stdin.readline())
    executor: Executor = getattr(importlib.import_module(asked["module"]), asked["cls"])(
        asked["options"]
    )
    node = executor.open_node(_spec(asked["spec"]))
    sys.stdout.write(node.engine_id + "\n")
    sys.stdout.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(node.fileno(), selectors.EVENT_READ)
        while True:
            selector.select(timeout=60)
            data = node.read()
            if data == b"":
                return
            sys.stdout.write((data or b"").decode(errors="replace"))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
