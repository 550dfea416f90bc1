"""Attempts and circuits as rows of their tables, and back."""

from __future__ import annotations

from waypost.address import Address
from waypost.health import Circuit
from waypost.outcome import Attempt, Bounced, Deferred, Outcome, Sent, Stage
from waypost.reply import EnhancedStatus, Reply, ReplyClass, Scope

COLUMNS = (
    "recipient, leg, destination, next_hop, at, outcome, stage, class, scope, ambiguous, code,"
    " status, text"
)

Row = tuple[str | float | None, ...]


def to_row(attempt: Attempt) -> Row:
    """The values of COLUMNS."""
    outcome, reply = attempt.outcome, attempt.outcome.reply
    told: Row
    if isinstance(outcome, Sent):
        told = ("sent", None, None, None, 0)
    else:
        name = "deferred" if isinstance(outcome, Deferred) else "bounced"
        ambiguous = isinstance(outcome, Deferred) and outcome.ambiguous
        told = (name, outcome.stage, outcome.reply_class, outcome.scope, int(ambiguous))
    status = str(reply.status) if reply.status else None
    # A receiver's text may hold bytes that are not UTF-8 (as lone surrogates); SQLite takes none.
    text = reply.text.encode(errors="backslashreplace").decode()
    return (
        attempt.recipient, attempt.leg, str(attempt.to), attempt.next_hop, attempt.at,
        *told, reply.code, status, text,
    )  # fmt: skip


def to_attempt(
    recipient: str, leg: str, destination: str, next_hop: str, at: float,
    outcome: str, stage: str | None, reply_class: str | None, scope: str | None,
    ambiguous: int, code: int, status: str | None, text: str,
) -> Attempt:  # fmt: skip
    """The attempt that the values of COLUMNS were made from."""
    reply = Reply(code, EnhancedStatus.parse(status) if status else None, text)
    return Attempt(
        recipient, leg, Address.parse(destination), next_hop, at,
        _outcome(outcome, reply, stage, reply_class, scope, bool(ambiguous)),
    )  # fmt: skip


def _outcome(
    name: str,
    reply: Reply,
    stage: str | None,
    reply_class: str | None,
    scope: str | None,
    ambiguous: bool,
) -> Outcome:
    if stage is None or reply_class is None or scope is None:
        return Sent(reply)
    told = (ReplyClass(reply_class), Scope(scope), Stage(stage))
    return Bounced(reply, *told) if name == "bounced" else Deferred(reply, *told, ambiguous)


def from_circuit(circuit: Circuit) -> Row:
    """The values of the table `circuits`. A probe under way is forgotten: a restart ends it."""
    return (
        circuit.next_hop, circuit.failures, circuit.opened_at, circuit.pause,
        circuit.probe_at, circuit.reason,
    )  # fmt: skip


def to_circuit(row: tuple[str, int, float | None, float, float, str]) -> Circuit:
    """The circuit that the values of the table `circuits` were made from."""
    next_hop, failures, opened_at, pause, probe_at, reason = row
    return Circuit(next_hop, failures, opened_at, pause, probe_at, None, reason)
