"""What it makes of an attempt when a host does not do as it should.

Owns the two exceptions of the package, and the outcome for everything that aiosmtplib, `ssl` and
the system can raise.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPResponseException

from waypost.outcome import Deferred, Stage, judge
from waypost.reply import Reply, ReplyClass, Scope


class NoAnswer(Exception):  # it reads as what it says
    """The connection was gone before MAIL was answered."""


class Unavailable(Exception):  # it reads as what it says
    """No conversation came about; `outcome` is what that makes of the attempt."""

    def __init__(self, outcome: Deferred, address: str | None = None) -> None:
        super().__init__(str(outcome.reply))
        self.outcome = outcome
        self.address = address
        """The IP address that was connected to; None when none could be."""


class OutOfStep(SMTPException):
    """The host said more than it was asked for."""


def is_in_step(client: SMTP) -> bool:
    """Whether nothing is there that would be taken for the next answer."""
    protocol = client.protocol
    return protocol is None or not protocol._buffer  # noqa: SLF001  # no public way to ask


def check_step(client: SMTP) -> None:
    """Raises OutOfStep when the host has said more than one reply."""
    if not is_in_step(client):
        raise OutOfStep("more than one reply")


def outcome_of(stage: Stage, error: Exception) -> Deferred:
    """What `error` at `stage` makes of the attempt."""
    if isinstance(error, SMTPResponseException) and error.code // 100 in (2, 3, 4, 5):
        return _answered(stage, Reply.read(error.code, error.message))
    if isinstance(error, SMTPResponseException | OutOfStep):
        # Gibberish, or an endless reply: the library's own code says so.
        return deferred(stage, f"451 4.5.0 no SMTP reply ({stage})", ReplyClass.UNAVAILABLE)
    if isinstance(error, TimeoutError):
        return deferred(stage, f"451 4.4.2 no answer in time ({stage})", ReplyClass.TIMEOUT)
    if isinstance(error, OSError) and error.strerror:
        return deferred(stage, f"451 4.4.1 {error.strerror} ({stage})", ReplyClass.CONNECT)
    return deferred(stage, f"451 4.4.2 connection lost ({stage})", ReplyClass.CONNECT)


def outcome_of_opening(stage: Stage, error: Exception) -> Deferred:
    """The same before the envelope, where it may be TLS that did not come about."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _tls_failed(f"the certificate is not accepted: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return _tls_failed(f"TLS failed: {cause.reason or cause.strerror}")
    return outcome_of(stage, error)


def deferred(stage: Stage, line: str, reply_class: ReplyClass) -> Deferred:
    """An outcome in words of our own."""
    return Deferred(Reply.own(line), reply_class, Scope.HOST, stage)


def _tls_failed(text: str) -> Deferred:
    # Loud, for nothing else would tell of an attack.
    return deferred(Stage.STARTTLS, f"451 4.7.5 {text}", ReplyClass.MISCONFIGURED)


def _answered(stage: Stage, reply: Reply) -> Deferred:
    outcome = judge(stage, reply)
    if not isinstance(outcome, Deferred):
        raise AssertionError(f"an answer at {stage} can only defer")
    return outcome


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
