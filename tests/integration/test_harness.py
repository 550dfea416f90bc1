"""The harness itself: a private Postfix, without Waypost."""

from __future__ import annotations

import smtplib

import pytest

from tests.integration.conftest import private_postfix
from waypost.testing.postfix import INSIDE
from waypost.testing.smtp import plain_message

SENDER, SOMEBODY = "alice@sender.example", "somebody@foreign.example"


def test_relays_defers_and_bounces() -> None:
    with private_postfix() as postfix:
        elsewhere = postfix.elsewhere
        elsewhere.at("rcpt", "451 4.2.0 later", recipient=SOMEBODY, times=1)
        answers = postfix.send(SENDER, [SOMEBODY], plain_message("hello"), client=INSIDE)
        queued = postfix.wait_until_deferred(SENDER)
        assert queued.queue_id == answers.queue_id
        assert "451 4.2.0 later" in queued.reasons[SOMEBODY]
        elsewhere.wait_for(1)
        postfix.wait_until_empty()

        elsewhere.at("rcpt", "550 5.1.1 unknown", recipient=SOMEBODY)
        postfix.sendmail(SENDER, [SOMEBODY], plain_message("hello"))
        bounce = postfix.wait_for_bounce(SENDER)
        assert bounce.recipients[0]["original-recipient"] == f"rfc822;{SOMEBODY}"
        assert bounce.recipients[0]["status"] == "5.1.1"

        outside = postfix.send(SENDER, [SOMEBODY], plain_message("relay me"))
        assert (outside.rcpt[SOMEBODY].code, outside.dot) == (454, None)


def test_several_stand_side_by_side_and_leave_nothing() -> None:
    with private_postfix() as stays:
        with private_postfix() as goes:
            goes.stop()
            goes.start()
            goes.reload()
            goes.smtp().close()
        with pytest.raises(ConnectionRefusedError):
            smtplib.SMTP("127.0.0.1", goes.port)
        assert not goes.directory.exists()
        stays.send(SENDER, [SOMEBODY], plain_message("hello"), client=INSIDE)
        stays.elsewhere.wait_for(1)
        assert "warning" not in stays.log()
