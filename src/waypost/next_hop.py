"""From a next hop to the hosts to connect to.

Owns DNS: mail exchangers in their order, null MX, addresses (RFC 5321 section 5.1, RFC 7505), and
the check that we never connect to ourselves.

Promises: `find` returns at least one host or raises `Unreachable` with the outcome that follows;
trouble with DNS is deferred, only a domain's own word (no such domain, null MX) bounces.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.MX import MX

from waypost.outcome import Bounced, Deferred, Outcome, Stage
from waypost.reply import Reply, ReplyClass, Scope
from waypost.route import Host, NextHop

SMTP_PORT = 25
MAX_ADDRESSES = 5
"""How many addresses are tried for one attempt (postconf(5), smtp_mx_address_limit)."""

_WILDCARDS = frozenset({"0.0.0.0", "::"})

Family = Literal["any", "ipv4", "ipv6"]


class Unreachable(Exception):  # it reads as what it says
    """There is no host to connect to; `outcome` is what that makes of the attempt."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome.reply))
        self.outcome = outcome


def is_local_address(address: str) -> bool:
    """Whether `address` is one of this machine's: only those can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


class HostFinder:
    """Finds the hosts of next hops. `own` are the addresses that we listen on ourselves."""

    def __init__(
        self,
        *,
        own: frozenset[tuple[str, int]] = frozenset(),
        family: Family = "any",
        resolver: dns.asyncresolver.Resolver | None = None,
        is_local: Callable[[str], bool] = is_local_address,
        mx_port: int = SMTP_PORT,
    ) -> None:
        self._own = own
        self._family = family
        self._resolver = resolver
        self._is_local = is_local
        self._mx_port = mx_port

    async def find(self, next_hop: NextHop) -> list[Host]:
        """The hosts in the order in which they are tried. Raises Unreachable."""
        if next_hop.port is not None:
            found = [await self._by_name(next_hop.host)]
        elif next_hop.host.startswith("["):
            found = [[_literal(next_hop.host)]]
        else:
            found = await self._exchangers(next_hop.host)
        hosts = list(self._usable(found, next_hop.port or self._mx_port))
        if not hosts:
            raise _misconfigured(f"{next_hop.name} is this very system")
        return hosts

    def _usable(self, found: Sequence[Sequence[str]], port: int) -> Iterator[Host]:
        """The hosts at these addresses, without ourselves, and as many as are to be tried."""
        left = MAX_ADDRESSES
        for each in found:
            addresses = [address for address in each if not self._is_own(address, port)]
            if addresses[:left]:
                yield Host(tuple(_interleaved(addresses)[:left]), port)
            left -= len(addresses[:left])

    def _is_own(self, address: str, port: int) -> bool:
        return any(
            port == our_port
            and (address == ours or (ours in _WILDCARDS and self._is_local(address)))
            for ours, our_port in self._own
        )

    async def _by_name(self, name: str) -> list[str]:
        """The addresses of a configured host: /etc/hosts counts, as for every program."""
        family = {"any": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                name, None, family=family[self._family], type=socket.SOCK_STREAM
            )
        except OSError as error:
            raise _dns_trouble(f"{name}: {error.strerror}") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def _exchangers(self, domain: str) -> list[list[str]]:
        """The addresses of each mail exchanger, in the order in which they are tried."""
        answer = await self._ask(domain, "MX")
        if answer is None:
            # No MX: the domain is its own exchanger (RFC 5321 section 5.1).
            return await self._without_us([(0, domain)])
        exchangers = [record for record in answer if isinstance(record, MX)]
        if any(record.exchange == dns.name.root for record in exchangers):
            raise Unreachable(_bounced("556 5.1.10 the domain takes no mail (null MX)"))
        # Equal preferences are tried in random order (RFC 5321 section 5.1).
        exchangers.sort(key=lambda record: (record.preference, random.random()))
        return await self._without_us(
            [(each.preference, each.exchange.to_text(omit_final_dot=True)) for each in exchangers]
        )

    async def _without_us(self, exchangers: Sequence[tuple[int, str]]) -> list[list[str]]:
        """Their addresses in order, up to the preference at which this very system stands: beyond
        it mail would come back (RFC 5321 section 5.1).
        """
        addresses: list[tuple[int, list[str]]] = []
        for preference, name in exchangers:
            found = await self._addresses_of(name)
            if any(self._is_local(address) for address in found):
                kept = [each for better, each in addresses if better < preference]
                if not kept:
                    raise _misconfigured("its MX is this very system; name a next hop for it")
                return kept
            if found:
                addresses.append((preference, found))
        if not addresses:
            raise _dns_trouble("no mail exchanger has an address")
        return [each for _, each in addresses]

    async def _addresses_of(self, name: str) -> list[str]:
        """The addresses of a mail exchanger. One that does not exist has none: that is a slip of
        the domain's owner, not the end of the domain.
        """
        kinds = {"any": ("AAAA", "A"), "ipv4": ("A",), "ipv6": ("AAAA",)}[self._family]
        found: list[str] = []
        for kind in kinds:
            try:
                answer = await self._ask(name, kind)
            except Unreachable:
                continue
            found += [record.to_text() for record in answer or ()]
        return found

    async def _ask(self, name: str, kind: str) -> dns.resolver.Answer | None:
        """The answer, or None where the name exists without such a record."""
        try:
            if self._resolver is None:
                self._resolver = dns.asyncresolver.Resolver()
                self._resolver.cache = dns.resolver.LRUCache()
            return await self._resolver.resolve(name, kind, search=False)
        except dns.resolver.NoAnswer:
            return None
        except dns.resolver.NXDOMAIN:
            raise Unreachable(_bounced("550 5.1.2 no such domain")) from None
        except (dns.exception.DNSException, OSError) as error:
            raise _dns_trouble(f"{kind} of {name}: {type(error).__name__}") from error


def _interleaved(addresses: Sequence[str]) -> list[str]:
    """IPv6 and IPv4 in turns, the first one's family first (RFC 8305 section 4)."""
    first = [each for each in addresses if (":" in each) == (":" in addresses[0])]
    others = [each for each in addresses if each not in first]
    pairs = itertools.zip_longest(first, others)
    return [each for pair in pairs for each in pair if each is not None]


def _literal(text: str) -> str:
    inner = text.strip("[]").removeprefix("ipv6:")
    try:
        return str(ipaddress.ip_address(inner))
    except ValueError:
        raise Unreachable(_bounced("550 5.1.2 no such address literal")) from None


def _dns_trouble(text: str) -> Unreachable:
    reply = Reply.own(f"451 4.4.3 {text}")
    return Unreachable(Deferred(reply, ReplyClass.DNS, Scope.HOST, Stage.DNS))


def _misconfigured(text: str) -> Unreachable:
    # 4xx, not 5.4.6: it is ours to mend, and the mail can wait for that.
    reply = Reply.own(f"451 4.4.6 {text}")
    return Unreachable(Deferred(reply, ReplyClass.MISCONFIGURED, Scope.HOST, Stage.DNS))


def _bounced(line: str) -> Bounced:
    return Bounced(Reply.own(line), ReplyClass.REJECTED, Scope.MAILBOX, Stage.DNS)
