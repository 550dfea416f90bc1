"""What is answered to each command of one milter connection, and the state of the message in hand.

Owns the verdict on every recipient and the exchange of recipients for their route addresses at the
end of the message. No I/O: payloads in, packets out; what it asks is given in `Services`.

Promises: state of one message is gone at MAIL, ABORT and end of message, and is bounded; every
recipient is added before any is deleted; trouble of ours is 4xx; a command that wants a reply gets
exactly one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from waypost import status
from waypost.address import Address, NotAnAddress, RouteAddresses, domain_behind
from waypost.events import Event, Resolved
from waypost.milter import codec
from waypost.reply import Reply
from waypost.resolver import MatcherTrouble, NotOurs, Resolver, Routed, Untouched

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

MAX_KEPT: Final = 4 << 20
"""Octets of RCPT commands that are kept for one message, each counted with EACH more. Several times
what smtpd_recipient_limit allows, 1000 (postconf(5))."""
EACH: Final = 512


@dataclass(frozen=True, slots=True)
class Services:
    """What a conversation asks of the rest of Waypost."""

    resolver: Callable[[], Resolver]
    """Today's; asked for with each recipient, so that a reload takes effect at once."""
    route_addresses: Callable[[], RouteAddresses]
    new_id: Callable[[], str]
    """A new message id."""
    observe: Callable[[Event], None]
    """Must not raise and must not wait."""
    clock: Callable[[], float]
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Routable:
    """A recipient that will be exchanged for its route address."""

    command: codec.RcptCommand
    address: Address
    route: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one RCPT."""

    name: Literal["routed", "unknown", "not_ours", "untouched", "trouble"]
    refusal: Reply | None = None
    route: str | None = None
    routable: Routable | None = None


class Conversation:
    """One milter connection after its negotiation."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._routable: list[Routable] = []
        self._kept = 0
        self._queue_id: str | None = None
        self.in_message = False
        """Whether a message has begun (MAIL) and not ended."""

    async def answer(self, payload: bytes) -> bytes:
        """The packets that answer a command, empty where none is due. Raises BadPacket."""
        command, data = payload[:1], payload[1:]
        if command == codec.RCPT:
            return await self._rcpt(data)
        if command == codec.MACROS:
            self._queue_id = codec.read_queue_id(data)
            return b""
        if command == codec.END_OF_MESSAGE:
            return self._end_of_message()
        if command in (codec.MAIL, codec.ABORT, codec.QUIT_NEW_CONNECTION):
            self._forget()
            self.in_message = command == codec.MAIL
            return b""
        raise codec.BadPacket(f"command {command!r} was not negotiated")

    def _forget(self) -> None:
        self._routable.clear()
        self._kept = 0
        self._queue_id = None
        self.in_message = False

    async def _rcpt(self, data: bytes) -> bytes:
        command = codec.read_rcpt(data)
        try:
            verdict = self._keep(await self._judge(command))
            packet = codec.refuse(verdict.refusal) if verdict.refusal else codec.CONTINUE
        except Exception as error:
            # Whatever it is, it is ours and not the sender's (invariant 3).
            matcher = error.matcher if isinstance(error, MatcherTrouble) else None
            log.exception("milter_trouble", at="rcpt", recipient=command.shown, matcher=matcher)
            verdict = Verdict("trouble")
            packet = codec.refuse(status.TROUBLE)
        log.debug(
            "milter_recipient", recipient=command.shown, verdict=verdict.name, route=verdict.route
        )
        services = self._services
        services.observe(Resolved(services.clock(), command.shown, verdict.name, verdict.route))
        return packet

    async def _judge(self, command: codec.RcptCommand) -> Verdict:
        route_addresses = self._services.route_addresses()
        resolver = self._services.resolver()
        try:
            address = Address.parse(command.text)
        except NotAnAddress:
            return _judge_unreadable(command.text, resolver, route_addresses)
        if address.domain == route_addresses.domain:
            read = route_addresses.read(address)
            if read and read.genuine:  # a content filter hands a message back to smtpd
                return Verdict("untouched")
            return Verdict("unknown", status.NOT_FOR_YOU)
        resolution = await resolver.resolve(address)
        if isinstance(resolution, NotOurs):
            return Verdict("not_ours")
        if isinstance(resolution, Untouched):
            return Verdict("untouched")
        route = resolution.match.route.name if isinstance(resolution, Routed) else None
        refusal = status.refusal(resolution)
        if refusal or route is None:
            return Verdict("unknown", refusal, route)
        return Verdict("routed", None, route, Routable(command, address, route))

    def _keep(self, verdict: Verdict) -> Verdict:
        """Keep a recipient for the end of the message, as long as there is room."""
        if verdict.routable is None:
            return verdict
        size = verdict.routable.command.octets + EACH
        if self._kept + size > MAX_KEPT:
            # The client sends the message again for the others (RFC 5321 section 4.5.3.1.10).
            return Verdict("trouble", status.TOO_MANY_RECIPIENTS)
        self._kept += size
        self._routable.append(verdict.routable)
        return verdict

    def _end_of_message(self) -> bytes:
        try:
            return self._exchange_recipients() + codec.CONTINUE
        except Exception:
            # Nothing has been sent yet: the message stays with the client, whole.
            log.exception("milter_trouble", at="end_of_message", queue_id=self._queue_id)
            return codec.refuse(status.TROUBLE)
        finally:
            self._forget()

    def _exchange_recipients(self) -> bytes:
        if not self._routable:
            return b""
        route_addresses = self._services.route_addresses()
        message_id = self._services.new_id()
        # The same recipient said twice is one, unless it asks for other DSNs the second time.
        distinct: dict[tuple[str, bytes | None, bytes | None], Routable] = {}
        for each in self._routable:
            key = each.address.key, each.command.notify, each.command.orcpt
            distinct.setdefault(key, each)
        adds = [
            codec.add_recipient(str(route_addresses.make(message_id, each.address)), each.command)
            for each in distinct.values()
        ]
        deletes = map(
            codec.delete_recipient, dict.fromkeys(each.command.address for each in self._routable)
        )
        log.info(
            "milter_rewritten",
            queue_id=self._queue_id,
            id=message_id,
            recipients=len(adds),
            routes=sorted({each.route for each in self._routable}),
        )
        # Added first, deleted last: a connection that breaks between the two may repeat a message,
        # never lose it (invariant 5).
        return b"".join([*adds, *deletes])


def _judge_unreadable(text: str, resolver: Resolver, route_addresses: RouteAddresses) -> Verdict:
    """The verdict on what is no address."""
    name = domain_behind(text)
    if name == route_addresses.domain:
        return Verdict("unknown", status.NOT_FOR_YOU)
    domain = resolver.domains.find(name)
    if domain is None:
        return Verdict("not_ours")
    if domain.unmatched == "pass":  # Postfix may well have a mailbox of that name
        return Verdict("untouched")
    return Verdict("unknown", status.BAD_SYNTAX)
