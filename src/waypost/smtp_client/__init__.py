"""One attempt: a conversation with one host that may end with the message accepted.

The sole user of aiosmtplib. Owns connecting (`racing`), the greeting, EHLO, STARTTLS and AUTH
(`opening`), MAIL, RCPT, DATA and the final dot (`connection`), the time each may take (`limits`),
and what an answer or a silence makes of the attempt (`trouble`, `waypost.outcome.judge`).

Promises: never raises for what a host does, but for `Unavailable` (there is no conversation) and
`NoAnswer` (nothing was said about the message yet, so asking once more repeats nothing); once DATA
was answered with 354 the attempt runs to its end, whatever the deadline; a connection on which
anything went out of step is not used again; nothing is said in plaintext that is to be said in TLS,
and no password at all.
"""

from waypost.smtp_client.connection import Connection, Mail
from waypost.smtp_client.opening import Opener
from waypost.smtp_client.trouble import NoAnswer, Unavailable

__all__ = ["Connection", "Mail", "NoAnswer", "Opener", "Unavailable"]
