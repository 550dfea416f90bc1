"""The route address carries id and recipient through the Postfix queue, and nobody can make one."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import MAILBOX, addresses
from waypost.address import Address, NotAnAddress, RouteAddress, RouteAddresses, make_id

ROUTES = RouteAddresses("waypost.invalid", b"k" * 32)
ids = st.binary(min_size=10, max_size=10).map(lambda octets: make_id(lambda _: octets))


def read_back(address: Address) -> RouteAddress | None:
    return ROUTES.read(Address.parse(f"<{address}>"))


def test_an_id_is_made_of_80_bits() -> None:
    asked = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    assert make_id(random_bytes) == "aaaqeayeaudaocaj"
    assert asked == [10]


@given(ids, addresses)
def test_a_route_address_gives_back_its_recipient(message_id: str, recipient: Address) -> None:
    made = ROUTES.make(message_id, recipient)
    assert MAILBOX.fullmatch(str(made))
    assert read_back(made) == RouteAddress(message_id, recipient, genuine=True)


def shouted(text: str) -> str:
    # What relays do to an address: ASCII letters only.
    return "".join(char.upper() if char.isascii() else char for char in text)


@given(ids, addresses)
def test_a_case_that_changes_on_the_way_does_no_harm(message_id: str, recipient: Address) -> None:
    read = ROUTES.read(Address.parse(shouted(str(ROUTES.make(message_id, recipient)))))
    assert read is not None
    assert (read.id, read.recipient.key, read.genuine) == (message_id, recipient.key, True)


@given(ids, addresses, st.data())
def test_one_flipped_bit_is_seen(message_id: str, recipient: Address, data: st.DataObject) -> None:
    made = ROUTES.make(message_id, recipient)
    octets = bytearray(made.local.encode())
    bit = data.draw(st.integers(0, 8 * len(octets) - 1))
    octets[bit // 8] ^= 1 << bit % 8
    local = octets.decode("utf-8", "surrogateescape")
    try:
        read = ROUTES.read(Address.parse(str(Address(local, made.domain))))
    except NotAnAddress:
        return
    if read is not None and read.genuine:
        # The flipped bit was the one between "a" and "A".
        assert unicodedata.normalize("NFC", local.lower()) == unicodedata.normalize(
            "NFC", made.local.lower()
        )
        assert (read.id, read.recipient.key) == (message_id, recipient.key)


@given(ids, addresses, ids, addresses)
def test_a_mac_is_good_for_one_id_and_one_recipient(
    message_id: str, recipient: Address, other_id: str, other: Address
) -> None:
    mac = ROUTES.make(message_id, recipient).local[17:33]
    for an_id, to in ((other_id, recipient), (message_id, other)):
        forged = Address(f"{an_id}-{mac}.{to.local}={to.domain}", ROUTES.domain)
        read = ROUTES.read(forged)
        assert read is not None
        assert read.genuine is ((an_id, to.key) == (message_id, recipient.key))


@given(ids, addresses, st.binary(min_size=1, max_size=40))
def test_another_key_makes_another_mac(message_id: str, recipient: Address, key: bytes) -> None:
    other = RouteAddresses(ROUTES.domain, key)
    read = other.read(ROUTES.make(message_id, recipient))
    assert read == RouteAddress(message_id, recipient, genuine=key == ROUTES.key)


@pytest.mark.parametrize(
    "text",
    [
        "user1@waypost.invalid",
        "aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb.user1=mydomain.net@mydomain.net",
        "aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb.user1=mydomain.net@sub.waypost.invalid",
        "aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb.user1@waypost.invalid",
        "aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb.=mydomain.net@waypost.invalid",
        "aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb.user1=@waypost.invalid",
        "aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb.user1=my..domain@waypost.invalid",
        "aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbb1.user1=mydomain.net@waypost.invalid",
        "aaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb.user1=mydomain.net@waypost.invalid",
        # Letters that are "s" and "k" to a regular expression that ignores case.
        "aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbb\u017f.user1=mydomain.net@waypost.invalid",
        "aaaaaaaaaaaaaaa\u212a-bbbbbbbbbbbbbbbb.user1=mydomain.net@waypost.invalid",
    ],
)
def test_other_addresses_are_no_route_addresses(text: str) -> None:
    assert ROUTES.read(Address.parse(text)) is None


@pytest.mark.parametrize("message_id", ["", "short", "a" * 17, "0" * 16, "a" * 15 + "."])
def test_an_address_that_would_not_come_back_is_not_made(message_id: str) -> None:
    with pytest.raises(NotAnAddress, match="does not survive"):
        ROUTES.make(message_id, Address("user1", "mydomain.net"))
