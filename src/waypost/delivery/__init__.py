"""Delivery: from a recipient that Postfix hands over to one reply.

`Delivery` is what the LMTP server talks to; `Envelope` is what it hands over. Inside, `admission`
says whose mail it is, `ledger` holds what is known of a message while it is being delivered, and
`walk` goes along the legs of one recipient.
"""

from waypost.delivery.circuits import Circuits
from waypost.delivery.service import Delivery, Envelope, Working

__all__ = ["Circuits", "Delivery", "Envelope", "Working"]
