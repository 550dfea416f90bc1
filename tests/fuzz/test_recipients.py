"""Generated recipients: none raises, and RCPT and the transport agree on each."""

from __future__ import annotations

import os

from tests.fuzz.agreement import count_all

MILLION = 1_000_000
# On one core a million take four minutes: too long for everybody's every run.
COUNT = MILLION if os.environ.get("CI") else MILLION // 10


def test_rcpt_and_the_transport_agree() -> None:
    answers = count_all(COUNT)
    assert answers.total() == COUNT
    for part in ("", "no address: ", "route address, genuine: ", "route address, forged: "):
        assert answers[f"{part}refused"]
        assert answers[f"{part}left"]
        assert part.startswith("no ") or answers[f"{part}exchanged"]
