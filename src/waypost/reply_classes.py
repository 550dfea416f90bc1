"""What receivers mean by their replies.

Owns the table of reply classes: each row says what a receiver means by a reply and whom it
concerns. `classify` answers by the first row that matches. Pure.

Promises: `classify` answers for every reply, the same for the same reply, in a time that does not
depend on the length of its text; a row added to `ROWS` needs no other change.

A row is of host scope only when the receiver speaks of us (our address, our host name, our rate) or
of its own state: such a row keeps other messages from that host. What it says of one message, its
sender's domain included, is of message scope: we forward what strangers write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from waypost.reply import Reply, ReplyClass, Scope

_SEARCHED = 2000
"""Characters of a text that patterns are looked for in; replies with a reason are far shorter."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a reply is of this kind when all three patterns are found in it.

    `code` and `status` are matched whole, `text` is searched without regard to case in the text on
    one line. An empty pattern matches everything. `receiver` says who was seen to write so; "any"
    is a row for the words that several use.
    """

    receiver: str
    code: str
    status: str
    text: str
    reply_class: ReplyClass
    scope: Scope

    def matches(self, reply: Reply) -> bool:
        """Whether this row describes `reply`."""
        return (
            (not self.code or re.fullmatch(self.code, str(reply.code)) is not None)
            and (not self.status or re.fullmatch(self.status, str(reply.status)) is not None)
            and (not self.text or re.search(self.text, _line(reply), re.IGNORECASE) is not None)
        )


def _line(reply: Reply) -> str:
    # A receiver breaks its lines anywhere, also between the words that we look for.
    return " ".join(reply.text[:_SEARCHED].split())


_THROTTLED, _GREYLISTED = ReplyClass.THROTTLED, ReplyClass.GREYLISTED
_FULL, _UNKNOWN = ReplyClass.MAILBOX_FULL, ReplyClass.UNKNOWN_RECIPIENT
_UNAVAILABLE, _REJECTED = ReplyClass.UNAVAILABLE, ReplyClass.REJECTED
_MESSAGE, _OURS = ReplyClass.MESSAGE, ReplyClass.MISCONFIGURED
_HOST, _BOX, _THIS = Scope.HOST, Scope.MAILBOX, Scope.MESSAGE

# The first row that matches decides: the receivers' own words first, general rows last. Gaps in
# patterns are bounded (`.{0,60}`), so that no text can make a search slow.
ROWS: tuple[Row, ...] = (
    # Gmail tells its replies at support.google.com/a/answer/3726730,
    Row("Gmail", "4..", r"4\.7\.28", "message-?id", ReplyClass.REPEATED, _THIS),
    Row("Gmail", "4..", r"4\.7\.28", "(dkim|spf|url) domain", _THROTTLED, _THIS),
    Row("Gmail", "4..", r"4\.7\.28", "", _THROTTLED, _HOST),
    Row("Gmail", "5..", "", "unusual rate of unsolicited mail", _REJECTED, _HOST),
    Row("Gmail", "421", r"4\.7\.0", "for RCPT domain", _REJECTED, _BOX),
    Row("Gmail", "421|550", r"[45]\.7\.[01]", "detected that this message", _MESSAGE, _THIS),
    Row("Gmail", "421", r"4\.7\.0", "unusual rate|closing connection", _THROTTLED, _HOST),
    Row("Gmail", "450|550", r"[45]\.2\.1", "receiving mail (at a rate|too quickly)",
        _THROTTLED, _BOX),
    Row("Gmail", "450", r"4\.2\.1", "SMTP relay limit", _THROTTLED, _HOST),
    Row("Gmail", "421|550", r"[45]\.7\.29", r"\bTLS\b", _OURS, _HOST),
    # Outlook.com and Exchange Online at learn.microsoft.com ("Email non-delivery reports"),
    Row("Outlook", "45.", r"4\.7\.(500|6\d\d)", "", _THROTTLED, _HOST),
    Row("Outlook", "550", r"5\.7\.(511|6(0[6-9]|[1-4]\d)|708)", "", _REJECTED, _HOST),
    Row("Outlook", "550", r"5\.7\.1", "network is on our block", _REJECTED, _HOST),
    Row("Outlook", "432", r"4\.3\.2", "recipient thread limit", _THROTTLED, _BOX),
    Row("Outlook", "55.", r"5\.2\.12[12]", "", _THROTTLED, _BOX),
    Row("Outlook", "451", r"4\.4\.62", "", _UNAVAILABLE, _BOX),
    Row("Outlook", "451", r"4\.7\.0", "temporary server error", _UNAVAILABLE, _THIS),
    Row("Outlook", "550", r"5\.7\.5(09|12|15)", "", _MESSAGE, _THIS),
    Row("Outlook", "550", r"5\.4\.1", "recipient address rejected", _UNKNOWN, _BOX),
    # Yahoo and AOL at senders.yahooinc.com/smtp-error-codes.
    Row("Yahoo", "421", "", r"\[TSS?\d\d\]", _THROTTLED, _HOST),
    Row("Yahoo", "553", "", r"\[BL\d\d\]", _REJECTED, _HOST),
    Row("Yahoo", "554", "", "message not allowed|not accepted for policy reasons",
        _MESSAGE, _THIS),
    # Others
    Row("iCloud", "421", r"4\.7\.1", "excessive volume", _THROTTLED, _BOX),
    Row("iCloud", "55.", r"5\.7\.1", "rejected due to local policy", _MESSAGE, _THIS),
    Row("GMX", "554", "", "no smtp service", _REJECTED, _HOST),
    Row("GMX", "5..", "", "reject due to policy", _MESSAGE, _THIS),
    Row("T-Online", "554", "", r"^IP=[\d.:a-f]+ - ", _REJECTED, _HOST),
    Row("Amazon SES", "454", "", "throttling failure", _THROTTLED, _HOST),
    # Only the words count: receivers agree on no status for it (RFC 6647 section 5).
    Row("any", "4..", "", "gr[ae]y[- ]?list", _GREYLISTED, _THIS),
    # Mailbox full
    Row("any", "", r"[45]\.2\.2", "", _FULL, _BOX),
    Row("any", "", "", r"over (storage )?quota|quota (is )?exceeded|exceeds? (its |the )?quota"
        r"|(mailbox|inbox) (is )?full|full mailbox|recipient storage full"
        r"|exceeded storage allocation|exhausted allowed storage|too many messages on"
        r"|exceed maximum mailbox size", _FULL, _BOX),
    # What is wrong with this message, or with its sender
    Row("any", "", r"[45]\.1\.[78]", "", _MESSAGE, _THIS),
    Row("any", "5..", "", r"sender (address |verif|domain)|mailfrom domain", _MESSAGE, _THIS),
    Row("any", "", "", r"too many hops|hop count|(mail|routing) loop", _MESSAGE, _THIS),
    Row("any", "", r"[45]\.(2\.3|3\.4|6\.\d+)", "", _MESSAGE, _THIS),
    Row("any", "5..", "", r"message (is )?too (large|big)|message size",
        _MESSAGE, _THIS),
    # What is wrong with our host
    Row("any", "", "", r"\bclient\b.{0,60}\b(blocked|listed)\b|client host rejected: access denied"
        r"|\b(your|sender|sending|from) ip\b.{0,60}\b(blocked|black-?list|listing|listed|rejected)",
        _REJECTED, _HOST),
    Row("any", "5..", "", r"\bip reputation\b", _REJECTED, _HOST),
    Row("any", "", "", r"cannot find your (reverse )?hostname|reverse dns|\bPTR record",
        _OURS, _HOST),
    Row("any", "", "", r"(helo|ehlo) (command|name|domain)\b.{0,20}\b(rejected|invalid|listed)",
        _OURS, _HOST),
    Row("any", "53[0458]", "", "", _OURS, _HOST),
    Row("any", "", "", "starttls (is )?required|authentication required", _OURS, _HOST),
    Row("any", "", "", r"relay(ing)? (access )?(is )?denied", _OURS, _BOX),
    # What is found in a message
    Row("any", "...", r"[45]\.7\.(2[0-4679]|3[0-2]|40)", "", _MESSAGE, _THIS),
    Row("any", "5..", "", r"\b(dmarc|spf|dkim)\b", _MESSAGE, _THIS),
    Row("any", "5..", "", r"\bspam\b|\bdbl\b|virus|malware|banned content",
        _MESSAGE, _THIS),
    # Rates
    Row("any", "421", "", r"\b(per|in this|on this) (smtp )?(connection|session)\b",
        _UNAVAILABLE, _THIS),
    Row("any", "45.", r"4\.5\.3", "", _THROTTLED, _THIS),
    Row("any", "4..", "", r"\b(recipient|mailbox|user|inbox)\b.{0,60}"
        r"\b(rate|limit|too (many|much|quickly|fast))\b", _THROTTLED, _BOX),
    Row("any", "4..", "", r"rate.?limit|throttl|concurrent connections"
        r"|too (many|much) (concurrent |simultaneous )?(connections|messages|mail|sessions)\b"
        r"|too many recipients from|temporarily deferred", _THROTTLED, _HOST),
    Row("any", "", "", "daily .{0,30}(limit|quota)", _THROTTLED, _HOST),
    # What milters answer that greylist (rspamd, Plesk): Postfix's words for their temporary failure
    Row("any", "4..", r"4\.7\.1", "try again", _GREYLISTED, _THIS),
    # Mailboxes
    Row("any", "4..", r"4\.[12]\.\d+", "", _UNAVAILABLE, _BOX),
    Row("any", "556", "", "", _UNKNOWN, _BOX),
    Row("any", "5..", r"5\.1\.([1236]|10)", "", _UNKNOWN, _BOX),
    Row("any", "5..", "", r"(user|recipient|mailbox|addressee|address|local part) (is )?unknown"
        r"|(unknown|invalid) (user|recipient|mailbox|local part|address)"
        r"|no such (user|mailbox|recipient|address|person|local)|does not exist|is no longer valid"
        r"|doesn't have an? \S+ account|mailbox (not found|unavailable)|no mailbox here"
        r"|(user|recipient) not found|not in recipient list|unrouteable address", _UNKNOWN, _BOX),
    Row("any", "5..", "", r"recipient address rejected|(mailbox|account|user)\b.{0,30}"
        r"(disabled|inactive|suspended|closed)", _REJECTED, _BOX),
    Row("any", "5..", r"5\.2\.\d+", "", _REJECTED, _BOX),
    # The rest, by code
    Row("any", "452", r"4\.3\.1", "", _UNAVAILABLE, _HOST),
    Row("any", "521", "", "", _REJECTED, _HOST),
    Row("any", "421", "", "", _UNAVAILABLE, _HOST),
    Row("any", "4..", "", "", _UNAVAILABLE, _THIS),
    Row("any", "5..", "", "", _REJECTED, _THIS),
)  # fmt: skip


def deciding_row(reply: Reply) -> Row | None:
    """The row that tells what `reply` means; None for one that is neither 4xx nor 5xx."""
    return next((row for row in ROWS if row.matches(reply)), None)


def classify(reply: Reply) -> tuple[ReplyClass, Scope]:
    """What a next hop means by `reply`, and whom it concerns."""
    if reply.code // 100 in (2, 3):
        return ReplyClass.ACCEPTED, Scope.MESSAGE
    row = deciding_row(reply)
    if row is None:
        return ReplyClass.UNAVAILABLE, Scope.MESSAGE
    return row.reply_class, row.scope
