"""Addresses and route addresses.

An input: text, as it may stand in an envelope; octets that are not UTF-8 become lone surrogates.

Held to: what is an address is written so that it reads back the same, on one line, and its key is
settled; it survives in a route address, in capitals as well; a route address that is taken for
genuine has the MAC that we make for its recipient.
"""

from __future__ import annotations

from tests.fuzz.virtual import Violation
from tests.fuzz.world import MESSAGE_ID, ROUTE_ADDRESSES
from waypost.address import Address, NotAnAddress, Recipient, RouteAddress
from waypost.trace import ascii_form


def one(data: bytes) -> None:
    """Run one input."""
    try:
        address = Address.parse(data.decode(errors="surrogateescape"))
    except NotAnAddress:
        return
    _check_written(address)
    _check_key(address)
    _check_route_address(address)
    read = ROUTE_ADDRESSES.read(address)
    if read and read.genuine:
        made = ROUTE_ADDRESSES.make(read.id, read.recipient)
        if _id_and_mac(made) != _id_and_mac(address):
            raise Violation(f"{address!r} is taken for genuine")


def _id_and_mac(address: Address) -> str:
    return address.local.partition(".")[0].lower()


def _check_written(address: Address) -> None:
    written = str(address)
    if Address.parse(written) != address or Address.parse(f"<{written}>") != address:
        raise Violation(f"{address!r} is written {written!r}")
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in written):
        raise Violation(f"{address!r} breaks the line that it is written into")
    if not ascii_form(address).isascii() or address.octets_of_local > len(written.encode()):
        raise Violation(f"{address!r} is measured wrongly")


def _check_key(address: Address) -> None:
    if Address.parse(address.key).key != address.key:
        raise Violation(f"the key of {address!r} is not settled: {address.key!r}")
    recipient = Recipient(address, address.domain, "+-")
    if recipient.tag and len(recipient.base) + 1 + len(recipient.tag) != len(address.local):
        raise Violation(f"{address!r} has a tag that is not its own: {recipient.tag!r}")


def _check_route_address(address: Address) -> None:
    made = ROUTE_ADDRESSES.make(MESSAGE_ID, address)
    if ROUTE_ADDRESSES.read(made) != RouteAddress(MESSAGE_ID, address, genuine=True):
        raise Violation(f"{address!r} does not come back from {made!r}")
    ascii_capitals = str(made).encode().upper().decode()
    read = ROUTE_ADDRESSES.read(Address.parse(ascii_capitals))
    if read is None or not read.genuine or read.recipient.key != address.key:
        raise Violation(f"{made!r} in capitals is read as {read!r}")
    forged = Address(made.local.replace(MESSAGE_ID, MESSAGE_ID[::-1], 1), made.domain)
    read = ROUTE_ADDRESSES.read(forged)
    if read is None or read.genuine:
        raise Violation(f"{forged!r} is read as {read!r}")
