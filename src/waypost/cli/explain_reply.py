"""`waypost explain --reply`: what a next hop means by a reply, and what follows from it.

Owns the reading of a reply as it is copied from a log, and the telling of what becomes of an
attempt that ends with it: to a person, and as JSON, `{reply, stage, class, scope, row: {receiver,
code, status, text}, attempt, failover_after, routes}`. `row` is the row of `waypost.reply_classes`
that matched, null when the reply is positive; `attempt` is sent, deferred, bounced, or goes_on
when the conversation would; `failover_after` are the seconds that a leg stays with its destination,
null unless deferred; `routes` those that have another value.

Promises: works without a configuration, with the values that hold by default.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from waypost.config import Config, ConfigError
from waypost.config.values import duration_text
from waypost.load import load
from waypost.outcome import Bounced, Sent, Stage, judge
from waypost.plan import failover_after
from waypost.plugins import load_plugins
from waypost.reply import Reply, ReplyClass, Scope
from waypost.reply_classes import Row, classify, deciding_row

STAGES: Final = tuple(stage.value for stage in Stage if stage not in (Stage.DNS, Stage.CONNECT))
"""Where a next hop can reply."""

_CONCERNS: Final[dict[Scope, str]] = {
    Scope.HOST: "every message to this host",
    Scope.MAILBOX: "every message to this mailbox",
    Scope.MESSAGE: "this message alone",
}
_FEW_ROUTES = 8


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one reply at one stage."""

    reply: Reply
    stage: Stage
    reply_class: ReplyClass
    scope: Scope
    row: Row | None
    attempt: Literal["sent", "deferred", "bounced", "goes_on"]
    failover_after: float | None = None
    routes: Mapping[str, float] = field(default_factory=dict)


def read_reply(text: str) -> Reply:
    """A reply as a log shows it, on one line or on several. Raises ArgumentTypeError."""
    text = text.strip()
    if not re.match(r"[2-5][0-9][0-9](?![0-9])", text):
        raise argparse.ArgumentTypeError(
            f"{json.dumps(text, ensure_ascii=False)} is no reply: it begins with its three digits,"
            " such as '451 4.7.650 try later'"
        )
    code = text[:3]
    # Every line begins with the code; Postfix logs the lines of a reply as one.
    lines = re.split(rf"(?:^|\s+){code}(?:[ -]|$)", text)
    return Reply.read(int(code), "\n".join(lines[1:]))


def run(args: argparse.Namespace) -> int:
    """Explain the reply; exit status 0."""
    explanation = explain(args.reply, Stage(args.stage), _config(Path(args.config)))
    if args.json:
        print(json.dumps(as_json(explanation)))
    else:
        for line in as_text(explanation):
            print(line.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding))
    return 0


def _config(path: Path) -> Config | None:
    if not path.exists():
        return None
    try:
        config = load(path, load_plugins(), with_secrets=False).config
    except ConfigError:
        print(f"{path}: has errors (waypost check tells them); it is left aside", file=sys.stderr)
        return None
    asyncio.run(_close(config))
    return config


async def _close(config: Config) -> None:
    for close in config.closers:
        await close()


def explain(reply: Reply, stage: Stage, config: Config | None) -> Explanation:
    """What `reply` at `stage` means, under `config` or by default."""
    reply_class, scope = classify(reply)
    row = deciding_row(reply)
    if reply_class is ReplyClass.ACCEPTED and stage is not Stage.DOT:
        return Explanation(reply, stage, reply_class, scope, row, "goes_on")
    outcome = judge(stage, reply)
    if isinstance(outcome, Sent):
        return Explanation(reply, stage, reply_class, scope, row, "sent")
    told = (reply, stage, outcome.reply_class, outcome.scope, row)
    if isinstance(outcome, Bounced):
        return Explanation(*told, "bounced")
    wait = failover_after(outcome.reply_class, config.failover_after if config else {})
    routes = {
        route.name: own
        for route in (config.routes if config else ())
        if (own := failover_after(outcome.reply_class, route.failover_after)) != wait
    }
    return Explanation(*told, "deferred", wait, routes)


def as_json(explanation: Explanation) -> dict[str, object]:
    """The object that `--json` prints."""
    row = explanation.row
    return {
        "reply": str(explanation.reply),
        "stage": explanation.stage,
        "class": explanation.reply_class,
        "scope": explanation.scope,
        "row": row
        and {
            "receiver": row.receiver,
            "code": row.code,
            "status": row.status,
            "text": row.text,
        },
        "attempt": explanation.attempt,
        "failover_after": explanation.failover_after,
        "routes": dict(explanation.routes),
    }


def as_text(explanation: Explanation) -> Iterator[str]:
    """The lines that a person is shown."""
    yield " ".join(str(explanation.reply).split())
    yield f"  class     {explanation.reply_class}"
    if explanation.attempt in ("sent", "goes_on"):
        yield f"  attempt   {_attempt(explanation)}"
        return
    yield f"  concerns  {_CONCERNS[explanation.scope]}"
    yield f"  row       {_row(explanation.row)}"
    if (explanation.reply_class, explanation.scope) != classify(explanation.reply):
        yield f"  but       {_override(explanation)}"
    yield f"  attempt   {_attempt(explanation)}"
    for number, line in enumerate(_leg(explanation)):
        yield f"  {'' if number else 'leg':<9} {line}"


def _row(row: Row | None) -> str:
    if row is None:
        return "none: this is no reply that could be due"
    parts = [row.code, row.status, f"text /{row.text}/" if row.text else ""]
    return f"{row.receiver}: {', '.join(filter(None, parts))}"


def _override(explanation: Explanation) -> str:
    if explanation.stage is Stage.DOT and explanation.reply.code // 100 == 3:
        return "after the final dot this is no answer"
    return f"said at {explanation.stage}, or as 530, it speaks of our host and its set-up"


def _attempt(explanation: Explanation) -> str:
    match explanation.attempt:
        case "goes_on":
            return f"goes on: at {explanation.stage} nothing is decided by this"
        case "bounced":
            return "bounced: this destination is not asked again for this message"
        case attempt:
            return attempt


def _leg(explanation: Explanation) -> Iterator[str]:
    if explanation.failover_after is None:
        yield "goes on to its next destination at once"
        return
    yield _stays(explanation.failover_after)
    by_wait: dict[float, list[str]] = {}
    for route, wait in explanation.routes.items():
        by_wait.setdefault(wait, []).append(route)
    for wait, routes in by_wait.items():
        more = f" and {len(routes) - _FEW_ROUTES} more" if len(routes) > _FEW_ROUTES else ""
        yield f"{_stays(wait)}: in {', '.join(routes[:_FEW_ROUTES])}{more}"


def _stays(seconds: float) -> str:
    if seconds == 0:
        return "goes on to its next destination at once"
    return f"stays with this destination for {duration_text(seconds)}, then goes on"
