"""A DNS server on loopback that answers from a zone of its own, for tests of `waypost.next_hop`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Zone = Mapping[str, Mapping[str, list[str]]]
"""By name: the records by type. A type `FAIL` makes every question about the name fail."""


class _Server(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        [question] = query.question
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        records = self._zone.get(question.name.to_text(omit_final_dot=True))
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif "FAIL" in records:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            kind = dns.rdatatype.to_text(question.rdtype)
            if values := records.get(kind):
                response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *values))
        assert self._transport is not None
        self._transport.sendto(response.to_wire(), addr)


@asynccontextmanager
async def dns_server(zone: Zone) -> AsyncIterator[dns.asyncresolver.Resolver]:
    """A resolver that asks a server which knows `zone` and nothing else."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Server(zone), local_addr=("127.0.0.1", 0)
    )
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = transport.get_extra_info("sockname")[1]
    resolver.lifetime = 2.0
    try:
        yield resolver
    finally:
        transport.close()
