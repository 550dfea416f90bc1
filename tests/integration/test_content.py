"""A message arrives as it was sent, with new headers on top and nothing else."""

from __future__ import annotations

import os
import re

from tests.integration.conftest import MakeNextHop, StartWaypost
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.smtp import plain_message

SENDER, ANNA = "alice@sender.example", "anna@mydomain.net"
ROUTE = """
[routes.anna]
match.exact = ["anna@mydomain.net"]
deliver = ["anna@gmail.com"]
"""
BODIES = {
    "8-bit": "Grüße, 世界\r\n".encode() + bytes(range(128, 256)),
    "long line": b"x" * 5000,
    "dots": b".\r\n..\r\n.one\r\n...",
    "spaces": b"trailing   \r\n\t\r\n   leading",
    "From": b"From the start of a line\r\n>From the second",
    "empty lines at the end": b"text\r\n\r\n\r\n",
}


def test_every_byte(postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost) -> None:
    gmail = next_hop("gmail.com")
    waypost(ROUTE)
    sent = {name: plain_message(name, "") + body + b"\r\n" for name, body in BODIES.items()}
    for message in sent.values():
        postfix.send(SENDER, [ANNA], message, mail="BODY=8BITMIME")
    arrived = {each.parsed["Subject"]: each.data for each in gmail.wait_for(len(sent))}
    assert {name: arrived[name][-len(message) :] for name, message in sent.items()} == sent
    for name, message in sent.items():
        new_headers = re.findall(rb"(?m)^([!-9;-~]+):", arrived[name][: -len(message)])
        assert set(new_headers) <= {b"Received", b"Delivered-To", b"Return-Path"}


def test_20_megabytes(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    gmail = next_hop("gmail.com")
    waypost(ROUTE)
    lines = 20_000_000 // 1000
    message = plain_message("large", "") + (os.urandom(499).hex().encode() + b"\r\n") * lines
    postfix.send(SENDER, [ANNA], message)
    [arrived] = gmail.wait_for(1, seconds=120)
    # Not by ==: pytest would explain the difference of two 20 MB strings.
    assert arrived.data.endswith(message) is True
