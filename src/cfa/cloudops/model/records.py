"""Plain values under the names that an object of the cloud's SDK has."""

from __future__ import annotations

from typing import Any


class Record(dict[str, Any]):
    """Values by name, read as attributes or as items: `pool.vm_size`, `pool["vm_size"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"there is no {name!r}, only {', '.join(self) or 'nothing'}"
            ) from None

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain dictionaries and lists."""
        return {name: _plain(value) for name, value in self.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.as_dict()
    return [_plain(one) for one in value] if isinstance(value, list) else value
