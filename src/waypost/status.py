"""Our own replies: what the SMTP client hears at RCPT and what Postfix hears from the transport.

Owns every reply text of Waypost. Pure.

Promises: no reply names a destination or repeats a receiver's text (they would travel in a bounce
to a stranger); our own trouble is 4xx.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Final

from waypost.outcome import Attempt, Bounced, Deferred
from waypost.plan import LegReport, Rest, Summary
from waypost.reply import EnhancedStatus, Reply
from waypost.resolver import Resolution, Routed, Unknown

TEXT_OCTETS: Final = 490
"""What a line of a reply has for its text, so that all fits in 512 (RFC 5321 section 4.5.3.1.5)."""

UNKNOWN: Final = Reply.own("550 5.1.1 no such address here")
NO_LEGAL_DESTINATION: Final = Reply.own("550 5.1.3 this address cannot be forwarded")
BAD_SYNTAX: Final = Reply.own("550 5.1.3 this address is not written as an address must be")
NOT_FOR_YOU: Final = Reply.own("550 5.7.1 this address takes no mail")
TROUBLE: Final = Reply.own("451 4.3.0 trouble here, please try again later")
NO_ROUTE_TODAY: Final = Reply.own("451 4.3.0 no route for this address at present")
LOOP: Final = Reply.own("554 5.4.6 this message has been here before: a mail loop")
TOO_MANY_HOPS: Final = Reply.own("554 5.4.6 too many hops")
TOO_MANY_RECIPIENTS: Final = Reply.own("452 4.5.3 too many recipients")
NO_ROOM: Final = Reply.own("452 4.3.1 too much mail at once, please try again later")
TOO_LARGE: Final = Reply.own("552 5.3.4 this message is too large")
STOPPING: Final = Reply.own("451 4.3.2 going down, please try again later")


def refusal(resolution: Resolution) -> Reply | None:
    """What a client that names such a recipient is told; None: the recipient is fine by us."""
    if isinstance(resolution, Unknown):
        return UNKNOWN
    if isinstance(resolution, Routed) and not resolution.legs:
        return NO_LEGAL_DESTINATION
    return None


def summary_reply(summary: Summary) -> Reply:
    """One reply for a recipient: how many legs are sent, every way's code and class in order."""
    if not summary.legs:
        return NO_LEGAL_DESTINATION
    text = f"{summary.sent} of {len(summary.legs)} legs sent"
    if summary.state is Rest.DONE:
        return Reply(250, EnhancedStatus(2, 0, 0), text)
    told = "; ".join(
        f"leg {number}: {_told(leg)}" for number, leg in enumerate(summary.legs, start=1)
    )
    category = 4 if summary.state is Rest.WAITING else 5
    status = _most_telling(summary, category)
    lines = textwrap.wrap(f"{text}; {told}", TEXT_OCTETS, break_on_hyphens=False)
    return Reply(451 if category == 4 else 554, status, "\n".join(lines))


def _told(leg: LegReport) -> str:
    if leg.state is Rest.DONE:
        return "sent"
    ways = ", ".join(_way(attempt) for attempt in leg.attempts)
    return ways or "not asked yet"


def _way(attempt: Attempt) -> str:
    outcome = attempt.outcome
    if isinstance(outcome, Deferred | Bounced):
        doubt = " (ambiguous)" if isinstance(outcome, Deferred) and outcome.ambiguous else ""
        return f"{outcome.reply.code} {outcome.reply_class}{doubt}"
    return f"{outcome.reply.code} sent"


def _most_telling(summary: Summary, category: int) -> EnhancedStatus:
    """The first status that says more than "other", of the attempts that decided."""
    for reply in _deciding_replies(summary):
        if reply.effective_status.subject != 0:
            return reply.effective_status.as_category(category)
    return EnhancedStatus(category, 0, 0)


def _deciding_replies(summary: Summary) -> Iterable[Reply]:
    deciding = Deferred if summary.state is Rest.WAITING else Bounced
    for leg in summary.legs:
        if leg.state is summary.state:
            for attempt in leg.attempts:
                if isinstance(attempt.outcome, deciding):
                    yield attempt.outcome.reply
