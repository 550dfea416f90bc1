"""Sending by SMTP as a stranger does, and seeing every reply.

Use: `deliver(client, ...)` with an open smtplib.SMTP, as often as wanted on one connection. Unlike
`smtplib.SMTP.sendmail` it writes addresses exactly as they are given and raises nothing on refusal.
"""

from __future__ import annotations

import re
import secrets
import smtplib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from waypost.reply import Reply


@dataclass(frozen=True, slots=True)
class Answers:
    """What a server said to one message."""

    mail: Reply
    rcpt: Mapping[str, Reply]
    """By recipient, as given; empty when MAIL was refused."""
    dot: Reply | None
    """None when no recipient was accepted: the message was not sent."""

    @property
    def queue_id(self) -> str:
        """Postfix's queue id. ValueError when it did not take the message."""
        match = self.dot and re.search(r"queued as (\S+)", self.dot.text)
        if not match:
            raise ValueError(f"not queued: {self}")
        return match[1]


def plain_message(subject: str, body: str = "Hello.") -> bytes:
    """A message as people send them, complete, so that no mail server adds anything it lacks."""
    lines = [
        "From: Alice <alice@sender.example>",
        "To: somebody@mydomain.net",
        f"Subject: {subject}",
        "Date: Mon, 01 Jun 2026 12:00:00 +0000",
        f"Message-ID: <{secrets.token_hex(8)}@sender.example>",
        "",
        body,
        "",
    ]
    return "\r\n".join(lines).encode()


def deliver(
    client: smtplib.SMTP,
    sender: str,
    recipients: Sequence[str],
    message: bytes,
    *,
    mail: str = "",
    rcpt: str = "",
) -> Answers:
    """Offer one message; `mail` and `rcpt` are parameters such as `BODY=8BITMIME`, `NOTIFY=NEVER`.

    Lines of `message` end with CRLF. Like every polite client it goes on while one recipient is
    accepted, and otherwise resets.
    """
    client.ehlo_or_helo_if_needed()
    client.command_encoding = "utf-8"
    mail_reply = _say(client, f"MAIL FROM:<{sender}> {mail}")
    rcpt_replies = {}
    if mail_reply.code == 250:
        rcpt_replies = {each: _say(client, f"RCPT TO:<{each}> {rcpt}") for each in recipients}
    if any(reply.code == 250 for reply in rcpt_replies.values()):
        dot = Reply.read(*_text(client.data(message)))
    else:
        dot = None
        client.rset()
    return Answers(mail_reply, rcpt_replies, dot)


def _say(client: smtplib.SMTP, line: str) -> Reply:
    return Reply.read(*_text(client.docmd(line.rstrip())))


def _text(reply: tuple[int, bytes]) -> tuple[int, str]:
    code, text = reply
    return code, text.decode("utf-8", "replace")
