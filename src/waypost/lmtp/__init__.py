"""The delivery socket: an LMTP server (RFC 2033) that gives each recipient a reply of its own.

Postfix's lmtp(8) and waypost-pipe are its clients. `LmtpServer` is what the daemon uses. Inside,
`session` holds the conversation with one client, `wire` knows how commands, contents and replies
are written, and `room` how much content may be held at once.

Promises: one reply for each accepted recipient after the final dot, in the order of RCPT, each as
soon as it and those before it are known. What belongs to one transaction is forgotten before the
next. A client that goes away cancels nothing. Whatever goes wrong in here is 451 or 421 (invariant
3). Content is never logged. What clients make us hold is bounded.
"""

from waypost.lmtp.server import TOO_MANY_CONNECTIONS, LmtpServer

__all__ = ["TOO_MANY_CONNECTIONS", "LmtpServer"]
