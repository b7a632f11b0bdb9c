"""What a rule says."""

from __future__ import annotations

import enum

from attrs import frozen


class Severity(enum.StrEnum):
    """Whether the cloud refuses a call, or takes it and behaves differently from here."""

    REFUSE = "refuse"
    WARN = "warn"


@frozen(kw_only=True)
class Finding:
    """Something that would be different on Azure.

    Attributes:
        rule: its id.
        severity: `refuse` or `warn`.
        what: what the script does, a sentence.
        on_azure: what would happen there, a sentence.
        do: what to change, a sentence.
        count: how often it was found.
        key: findings of one rule with the same key are one finding; `what` by default.
    """

    rule: str
    severity: Severity
    what: str
    on_azure: str
    do: str
    count: int = 1
    key: str = ""


def refuse(rule: str, what: str, on_azure: str, do: str) -> Finding:
    """A finding about a call that the cloud refuses."""
    return Finding(
        rule=rule, severity=Severity.REFUSE, what=what, on_azure=on_azure, do=do, key=what
    )


def warn(rule: str, what: str, on_azure: str, do: str, key: str = "") -> Finding:
    """A finding about a call that the cloud takes."""
    return Finding(
        rule=rule, severity=Severity.WARN, what=what, on_azure=on_azure, do=do, key=key or what
    )
