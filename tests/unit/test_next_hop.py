"""Which hosts a next hop has: MX order, null MX, trouble, and never ourselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.fake_dns import Zone, dns_server
from waypost.next_hop import Family, HostFinder, Unreachable, is_local_address
from waypost.outcome import Bounced, Deferred
from waypost.reply import ReplyClass
from waypost.route import Host, NextHop


def hosts(address: str, *more: str) -> Zone:
    return {"mx.example": {"A": [address, *more]}}


async def find(
    zone: Zone,
    domain: str = "there.example",
    *,
    family: Family = "any",
    local: Callable[[str], bool] = lambda _: False,
) -> list[str]:
    """All addresses in order, whichever host's they are."""
    found = await find_hosts(zone, domain, family=family, local=local)
    return [address for host in found for address in host.addresses]


async def find_hosts(
    zone: Zone,
    domain: str = "there.example",
    *,
    family: Family = "any",
    local: Callable[[str], bool] = lambda _: False,
) -> list[Host]:
    async with dns_server(zone) as resolver:
        finder = HostFinder(resolver=resolver, is_local=local, family=family)
        return await finder.find(NextHop(domain))


async def refusal(
    zone: Zone, *, local: Callable[[str], bool] = lambda _: False
) -> Bounced | Deferred:
    with pytest.raises(Unreachable) as caught:
        await find(zone, local=local)
    outcome = caught.value.outcome
    assert isinstance(outcome, Bounced | Deferred)
    return outcome


async def test_exchangers_are_asked_in_the_order_of_their_preference() -> None:
    zone = {
        "there.example": {"MX": ["20 second.example.", "10 first.example.", "30 third.example."]},
        "first.example": {"A": ["192.0.2.1"]},
        "second.example": {"A": ["192.0.2.2"]},
        "third.example": {"A": ["192.0.2.3"]},
    }
    assert await find(zone) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


async def test_a_domain_without_mx_is_its_own_exchanger() -> None:
    assert await find({"there.example": {"A": ["192.0.2.9"]}}) == ["192.0.2.9"]


async def test_both_families_or_the_one_that_is_configured() -> None:
    zone = {"there.example": {"A": ["192.0.2.9"], "AAAA": ["2001:db8::9"]}}
    assert await find(zone) == ["2001:db8::9", "192.0.2.9"]
    assert await find(zone, family="ipv4") == ["192.0.2.9"]
    assert await find(zone, family="ipv6") == ["2001:db8::9"]


async def test_the_addresses_of_an_exchanger_stay_together_and_its_families_take_turns() -> None:
    zone = {
        "there.example": {"MX": ["10 first.example.", "20 second.example."]},
        "first.example": {
            "AAAA": ["2001:db8::1", "2001:db8::2"],
            "A": ["192.0.2.1"],
        },
        "second.example": {"A": ["192.0.2.3"]},
    }
    first, second = await find_hosts(zone)
    assert first.addresses[1] == "192.0.2.1"
    assert {first.addresses[0], first.addresses[2]} == {"2001:db8::1", "2001:db8::2"}
    assert second.addresses == ("192.0.2.3",)


async def test_no_more_than_five_addresses_are_tried() -> None:
    many = [f"192.0.2.{number}" for number in range(1, 5)]
    zone = {
        "there.example": {"MX": ["10 a.example.", "20 b.example.", "30 c.example."]},
        "a.example": {"A": many},
        "b.example": {"A": many},
        "c.example": {"A": many},
    }
    assert [len(host.addresses) for host in await find_hosts(zone)] == [4, 1]


async def test_a_null_mx_bounces() -> None:
    outcome = await refusal({"there.example": {"MX": ["0 ."]}})
    assert isinstance(outcome, Bounced)
    assert str(outcome.reply.status) == "5.1.10"


async def test_a_domain_that_does_not_exist_bounces() -> None:
    outcome = await refusal({})
    assert isinstance(outcome, Bounced)
    assert str(outcome.reply.status) == "5.1.2"


async def test_trouble_with_dns_defers() -> None:
    outcome = await refusal({"there.example": {"FAIL": []}})
    assert isinstance(outcome, Deferred)
    assert outcome.reply_class is ReplyClass.DNS


async def test_an_exchanger_that_does_not_exist_is_passed_over() -> None:
    zone = {
        "there.example": {"MX": ["10 gone.example.", "20 mx.example."]},
        "mx.example": {"A": ["192.0.2.2"]},
    }
    assert await find(zone) == ["192.0.2.2"]


async def test_a_domain_whose_exchangers_do_not_exist_defers() -> None:
    outcome = await refusal({"there.example": {"MX": ["10 gone.example."]}})
    assert isinstance(outcome, Deferred)


async def test_exchangers_behind_ourselves_are_not_asked() -> None:
    zone = {
        "there.example": {"MX": ["10 better.example.", "20 us.example.", "30 worse.example."]},
        "better.example": {"A": ["192.0.2.1"]},
        "us.example": {"A": ["192.0.2.2"]},
        "worse.example": {"A": ["192.0.2.3"]},
    }
    assert await find(zone, local=lambda address: address == "192.0.2.2") == ["192.0.2.1"]


@pytest.mark.parametrize(
    "zone",
    [
        {"there.example": {"MX": ["10 us.example."]}, "us.example": {"A": ["192.0.2.2"]}},
        {"there.example": {"A": ["192.0.2.2"]}},
    ],
    ids=["MX", "implicit MX"],
)
async def test_an_mx_that_is_us_is_never_connected_to(zone: Zone) -> None:
    outcome = await refusal(zone, local=lambda address: address == "192.0.2.2")
    assert isinstance(outcome, Deferred)
    assert outcome.reply_class is ReplyClass.MISCONFIGURED


async def test_a_configured_host_is_found_as_every_program_finds_it() -> None:
    found = await HostFinder(family="ipv4").find(NextHop("localhost", 2525))
    assert found == [Host(("127.0.0.1",), 2525)]


@pytest.mark.parametrize("listens_on", ["127.0.0.1", "0.0.0.0"])
async def test_our_own_listener_is_never_connected_to(listens_on: str) -> None:
    finder = HostFinder(own=frozenset({(listens_on, 9901)}))
    with pytest.raises(Unreachable) as caught:
        await finder.find(NextHop("127.0.0.1", 9901))
    assert isinstance(caught.value.outcome, Deferred)
    assert await finder.find(NextHop("127.0.0.1", 2525)) == [Host(("127.0.0.1",), 2525)]


async def test_an_address_literal_is_its_own_host() -> None:
    finder = HostFinder()
    assert await finder.find(NextHop("[192.0.2.7]")) == [Host(("192.0.2.7",), 25)]
    assert await finder.find(NextHop("[ipv6:2001:db8::7]")) == [Host(("2001:db8::7",), 25)]


def test_only_addresses_of_this_machine_are_local() -> None:
    assert is_local_address("127.0.0.1")
    assert not is_local_address("192.0.2.1")
