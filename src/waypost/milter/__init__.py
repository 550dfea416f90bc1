"""The milter: what Postfix asks while the sender is still connected.

Owns the milter connections (codec, conversation, session, server); the sole user of
purepythonmilter, of which it uses the codec only. Use:

    milter = Milter(resolver=..., route_addresses=..., new_id=..., observe=..., clock=...)
    await loop.create_unix_server(milter.protocol, path)
    ...
    await milter.drain(30)

Promises: an unknown recipient of ours is refused at RCPT, our own trouble is 4xx, other domains
are left alone; at the end of a message its routed recipients are exchanged for route addresses,
added first and deleted last; what an MTA makes us keep, and for how long, is bounded. It
belongs last in smtpd_milters: Postfix does not tell a milter that
a later one refused a recipient, and that recipient would be added all the same.
"""

from waypost.milter.server import Milter
from waypost.milter.session import Patience

__all__ = ["Milter", "Patience"]
