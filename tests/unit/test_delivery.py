"""From a recipient at the transport to one reply, with real sockets and a real journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from waypost.address import Address, Recipient, RouteAddresses
from waypost.connections import Connections
from waypost.delivery import Circuits, Delivery, Envelope, Working
from waypost.events import Attempted, Event, Finished
from waypost.health import FAILURES, FIRST_PAUSE, Health
from waypost.hookspecs import Hit
from waypost.journal import Journal
from waypost.next_hop import HostFinder
from waypost.resolver import Domain, Domains, MatcherInUse, Resolver, RuleInUse
from waypost.route import NextHop, NextHops, Route, Template
from waypost.slots import Slots
from waypost.testing.misbehaviours import Hang, take_then_hang_up
from waypost.testing.next_hop import FakeNextHop

ID = "a" * 16
ENVELOPE = Envelope("sender@sender.example", "4ABC")
CONTENT = b"Message-ID: <1@sender.example>\r\nDate: now\r\n\r\nhello\r\n"
ADDRESSES = RouteAddresses("waypost.invalid", b"k" * 32)


@pytest.fixture
def gmail() -> Iterator[FakeNextHop]:
    with FakeNextHop("gmail.com") as hop:
        yield hop


@pytest.fixture
def outlook() -> Iterator[FakeNextHop]:
    with FakeNextHop("outlook.com") as hop:
        yield hop


def route(name: str, *legs: Sequence[str], **options: str) -> Route:
    made = tuple(tuple(Template.parse(each) for each in leg) for leg in legs)
    return Route(name, made, **options)  # type: ignore[arg-type]


class Bench:
    """A delivery service whose routes the test sets: by recipient."""

    def __init__(self, journal: Journal, gmail: FakeNextHop, outlook: FakeNextHop) -> None:
        self.routes: dict[str, Route] = {}
        self.events: list[Event] = []
        self.trouble: Exception | None = None
        self.journal = journal
        self._hops = NextHops(
            by_domain={
                "gmail.com": NextHop("127.0.0.1", gmail.port),
                "outlook.com": NextHop("127.0.0.1", outlook.port),
            }
        )
        self.connections = Connections(HostFinder(), helo="mx.mydomain.net")
        self.now = 1e9
        self.circuits = Circuits(Health(random=lambda: 0.5), journal, lambda: self.now)
        self.delivery = Delivery(
            working=self._working,
            journal=journal,
            circuits=self.circuits,
            observe=self.events.append,
            clock=lambda: self.now,
        )

    def _working(self) -> Working:
        rules = [RuleInUse(each, name) for name, each in self.routes.items()]
        names = list(self.routes)

        def find(recipient: Recipient) -> list[Hit]:
            if self.trouble:
                raise self.trouble
            return [Hit(names.index(recipient.key))] if recipient.key in names else []

        resolver = Resolver(
            Domains(
                {
                    "mydomain.net": Domain("mydomain.net"),
                    "mail.mydomain.net": Domain("mail.mydomain.net", "pass"),
                }
            ),
            [MatcherInUse("exact", 100, find, rules)],
            self._hops,
        )
        return Working(resolver, ADDRESSES, self.connections, "mx.mydomain.net", 60.0)

    async def deliver(
        self, recipient: str, *, content: bytes = CONTENT, message_id: str | None = ID
    ) -> str:
        if message_id is not None:
            recipient = str(ADDRESSES.make(message_id, Address.parse(recipient)))
        return str(await self.delivery.deliver(ENVELOPE, recipient, content))


@pytest.fixture
async def bench(tmp_path: Path, gmail: FakeNextHop, outlook: FakeNextHop) -> AsyncIterator[Bench]:
    journal = Journal(tmp_path, clock=lambda: 1e9)
    bench = Bench(journal, gmail, outlook)
    yield bench
    await bench.delivery.drain()
    await bench.connections.close()
    await journal.close()


def got(*hops: FakeNextHop) -> list[list[str]]:
    return [[each for message in hop.messages for each in message.recipients] for hop in hops]


THROTTLED = "451 4.7.650 rate limited due to IP reputation"
ONE = "me@mydomain.net"
FAMILY = "family@mydomain.net"


async def test_the_next_destination_takes_what_the_first_defers(
    bench: Bench, gmail: FakeNextHop, outlook: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com", "me@outlook.com"])
    gmail.at("rcpt", THROTTLED)
    assert await bench.deliver(ONE) == "250 2.0.0 1 of 1 legs sent"
    assert got(gmail, outlook) == [[], ["me@outlook.com"]]
    assert outlook.messages[0].data.endswith(CONTENT)
    assert outlook.messages[0].data.startswith(b"Delivered-To: me@mydomain.net\r\n")


async def test_nothing_is_2xx_until_every_leg_is_sent(
    bench: Bench, gmail: FakeNextHop, outlook: FakeNextHop
) -> None:
    bench.routes[FAMILY] = route("family", ["a@gmail.com"], ["b@outlook.com"])
    outlook.at("dot", THROTTLED, times=1)
    first = await bench.deliver(FAMILY)
    assert first == "451 4.7.650 1 of 2 legs sent; leg 1: sent; leg 2: 451 throttled"
    assert await bench.deliver(FAMILY) == "250 2.0.0 2 of 2 legs sent"
    assert got(gmail, outlook) == [["a@gmail.com"], ["b@outlook.com"]]


async def test_a_sent_leg_is_not_asked_again_after_a_restart(
    tmp_path: Path, bench: Bench, gmail: FakeNextHop, outlook: FakeNextHop
) -> None:
    bench.routes[FAMILY] = route("family", ["a@gmail.com"], ["b@outlook.com"])
    outlook.at("rcpt", THROTTLED, times=1)
    await bench.deliver(FAMILY)
    journal = Journal(tmp_path, clock=lambda: 1e9)
    later = Bench(journal, gmail, outlook)
    later.routes = bench.routes
    assert await later.deliver(FAMILY) == "250 2.0.0 2 of 2 legs sent"
    assert got(gmail, outlook) == [["a@gmail.com"], ["b@outlook.com"]]
    await later.connections.close()
    await journal.close()


async def test_every_way_s_code_is_told_in_order(
    bench: Bench, gmail: FakeNextHop, outlook: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["a@gmail.com", "b@outlook.com", "c@gmail.com"])
    gmail.at("rcpt", "550 5.1.1 a@gmail.com unknown", recipient="a@gmail.com")
    gmail.at("rcpt", "452 4.2.2 c@gmail.com is over quota", recipient="c@gmail.com")
    outlook.at("rcpt", THROTTLED)
    reply = await bench.deliver(ONE)
    assert reply == (
        "451 4.7.650 0 of 1 legs sent;"
        " leg 1: 550 unknown_recipient, 451 throttled, 452 mailbox_full"
    )


async def test_when_all_ways_bounce_the_recipient_bounces(
    bench: Bench, gmail: FakeNextHop, outlook: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["a@gmail.com", "b@outlook.com"])
    for hop in (gmail, outlook):
        hop.at("rcpt", "550 5.1.1 unknown")
    reply = await bench.deliver(ONE)
    assert reply.startswith("554 5.1.1 0 of 1 legs sent")


async def test_two_recipients_that_meet_in_one_mailbox_make_one_copy(
    bench: Bench, gmail: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    bench.routes[FAMILY] = route("family", ["Me@gmail.com"])
    replies = await asyncio.gather(bench.deliver(ONE), bench.deliver(FAMILY))
    assert list(replies) == ["250 2.0.0 1 of 1 legs sent"] * 2
    assert len(gmail.messages) == 1


async def test_another_message_under_the_same_id_is_delivered(
    bench: Bench, gmail: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    await bench.deliver(ONE)
    await bench.deliver(ONE, content=CONTENT.replace(b"<1@", b"<2@"))
    assert len(gmail.messages) == 2


async def test_a_second_offer_of_the_same_message_waits_for_the_first(
    bench: Bench, gmail: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    hang = Hang()
    gmail.at("dot", hang, times=1)
    first = asyncio.create_task(bench.deliver(ONE))
    await asyncio.to_thread(hang.wait_until_reached)
    second = asyncio.create_task(bench.deliver(ONE))
    hang.release()
    assert list(await asyncio.gather(first, second)) == ["250 2.0.0 1 of 1 legs sent"] * 2
    assert len(gmail.messages) == 1


async def test_a_client_that_goes_away_cancels_nothing(bench: Bench, gmail: FakeNextHop) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    hang = Hang()
    gmail.at("dot", hang)
    offer = asyncio.create_task(bench.deliver(ONE))
    await asyncio.to_thread(hang.wait_until_reached)
    offer.cancel()
    hang.release()
    await bench.delivery.drain()
    assert await bench.deliver(ONE) == "250 2.0.0 1 of 1 legs sent"
    assert len(gmail.messages) == 1


async def test_after_one_doubt_the_same_destination_is_asked_again(
    bench: Bench, gmail: FakeNextHop, outlook: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com", "me@outlook.com"])
    gmail.at("dot", take_then_hang_up, times=2)
    assert await bench.deliver(ONE) == (
        "451 4.4.2 0 of 1 legs sent; leg 1: 451 connect (ambiguous)"
    )
    assert got(outlook) == [[]]
    assert await bench.deliver(ONE) == "250 2.0.0 1 of 1 legs sent"
    assert got(outlook) == [["me@outlook.com"]]


async def test_an_edit_redirects_what_was_deferred(
    bench: Bench, gmail: FakeNextHop, outlook: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    gmail.at("rcpt", THROTTLED)
    assert (await bench.deliver(ONE)).startswith("451 4.7.650")
    bench.routes[ONE] = route("me", ["me@outlook.com"])
    assert await bench.deliver(ONE) == "250 2.0.0 1 of 1 legs sent"
    assert got(outlook) == [["me@outlook.com"]]


async def test_a_loop_ends_here(bench: Bench, gmail: FakeNextHop) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    been_here = b"Delivered-To: ME@mydomain.net\r\n" + CONTENT
    assert (await bench.deliver(ONE, content=been_here)).startswith("554 5.4.6")
    assert (await bench.deliver(ONE, content=b"Received: x\r\n" * 50 + CONTENT)).startswith(
        "554 5.4.6"
    )
    assert not gmail.messages


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("nobody@mydomain.net", "550 5.1.1"),
        ("somebody@elsewhere.example", "550 5.7.1"),
        ("somebody@mail.mydomain.net", "550 5.7.1"),
        ("anything@waypost.invalid", "550 5.7.1"),
        ("no address", "550 5.7.1"),
        ("no (address)@mydomain.net", "550 5.1.3"),
        ("no (address)@mail.mydomain.net", "550 5.7.1"),
        ("no (address)@elsewhere.example", "550 5.7.1"),
        (f"{ID}-{ID}.nobody=mydomain.net@waypost.invalid", "550 5.1.1"),
        (f"{ID}-{ID}.x=elsewhere.example@waypost.invalid", "550 5.7.1"),
    ],
)
async def test_who_is_not_let_in(bench: Bench, recipient: str, reply: str) -> None:
    assert (await bench.deliver(recipient, message_id=None)).startswith(reply)
    assert str(await bench.delivery.check(recipient)).startswith(reply)


async def test_a_genuine_route_address_without_a_route_waits(bench: Bench) -> None:
    for gone in ("gone@mydomain.net", "x@elsewhere.example", "x@mail.mydomain.net"):
        assert (await bench.deliver(gone)).startswith("451 4.3.0")


async def test_a_genuine_route_address_whose_route_makes_no_address_waits(bench: Bench) -> None:
    long = f"{'x' * 60}@mydomain.net"
    bench.routes[long] = route("long", ["catchall+{local}@gmail.com"])
    assert (await bench.deliver(long)).startswith("451 4.3.0")
    assert (await bench.deliver(long, message_id=None)).startswith("550 5.1.3")


async def test_a_recipient_that_no_milter_saw_is_delivered_once(
    bench: Bench, gmail: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    for _ in range(2):
        assert await bench.deliver(ONE, message_id=None) == "250 2.0.0 1 of 1 legs sent"
    assert len(gmail.messages) == 1


async def test_a_reused_queue_id_does_not_make_a_message_vanish(
    bench: Bench, gmail: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    for received in (b"at 1", b"at 2"):
        content = b"Received: by mx; " + received + b"\r\n\r\nthe same hello\r\n"
        await bench.deliver(ONE, content=content, message_id=None)
    assert len(gmail.messages) == 2


async def test_trouble_of_a_matcher_is_4xx(bench: Bench) -> None:
    bench.trouble = RuntimeError("the plugin broke")
    assert (await bench.deliver(ONE)).startswith("451 4.3.0")
    assert str(await bench.delivery.check(ONE)).startswith("451 4.3.0")


async def test_trouble_of_the_journal_is_4xx(
    tmp_path: Path, bench: Bench, gmail: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    (tmp_path / "journal.sqlite").write_bytes(b"no database" * 100)
    assert (await bench.deliver(ONE)).startswith("451 4.3.0")
    assert not gmail.messages


async def test_observers_hear_of_it(bench: Bench, gmail: FakeNextHop) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com", "me@outlook.com"])
    gmail.at("rcpt", THROTTLED)
    await bench.deliver(ONE)
    kinds = [type(event) for event in bench.events]
    assert kinds == [Attempted, Attempted, Finished]


async def test_an_open_circuit_sends_messages_to_the_backup_at_once(
    bench: Bench, gmail: FakeNextHop, outlook: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com", "me@outlook.com"])
    gmail.at("mail", "421 4.7.0 try again later, closing connection. gsmtp")
    for number in range(FAILURES + 5):
        content = CONTENT.replace(b"<1@", f"<{number}@".encode())
        assert await bench.deliver(ONE, content=content) == "250 2.0.0 1 of 1 legs sent"
    asked = [command for command in gmail.commands if command.startswith("MAIL")]
    assert len(asked) == FAILURES
    assert len(outlook.messages) == FAILURES + 5

    bench.now += 2 * FIRST_PAUSE
    gmail.behave()
    for number in range(2):
        await bench.deliver(ONE, content=CONTENT.replace(b"<1@", f"<later{number}@".encode()))
    assert len(gmail.messages) == 2


async def test_an_open_circuit_is_no_reason_to_bounce(bench: Bench, gmail: FakeNextHop) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    gmail.at("mail", "421 4.7.0 try again later, closing connection. gsmtp")
    for number in range(FAILURES):
        content = CONTENT.replace(b"<1@", f"<{number}@".encode())
        assert (await bench.deliver(ONE, content=content)).startswith("451 4.7.0")
    content = CONTENT.replace(b"<1@", b"<one more@")
    assert await bench.deliver(ONE, content=content) == (
        "451 4.0.0 0 of 1 legs sent; leg 1: not asked yet"
    )


async def test_what_was_said_about_one_message_opens_nothing(
    bench: Bench, gmail: FakeNextHop
) -> None:
    bench.routes[ONE] = route("me", ["me@gmail.com", "me@outlook.com"])
    gmail.at("dot", "550 5.7.26 unauthenticated", times=3 * FAILURES)
    for number in range(3 * FAILURES + 1):
        await bench.deliver(ONE, content=CONTENT.replace(b"<1@", f"<{number}@".encode()))
    assert len(gmail.messages) == 1


async def test_copies_for_one_next_hop_go_one_after_another_on_one_connection(
    bench: Bench, gmail: FakeNextHop
) -> None:
    bench.routes[FAMILY] = route("family", *[[f"{name}@gmail.com"] for name in "abcdef"])
    assert await bench.deliver(FAMILY) == "250 2.0.0 6 of 6 legs sent"
    assert gmail.connections == 1
    assert len(gmail.messages) == 6


@pytest.mark.parametrize("destination", ["{local}@gmail.com", "me@gmail.com"])
async def test_copies_for_a_silent_next_hop_hold_its_share_and_no_more(
    bench: Bench, gmail: FakeNextHop, destination: str
) -> None:
    slots = Slots(share=3, slow_seconds=0.05)
    bench.connections = Connections(HostFinder(), helo="mx.mydomain.net", slots=slots)
    recipients = [f"user{number}@mydomain.net" for number in range(8)]
    bench.routes = {each: route("everyone", [destination]) for each in recipients}
    silent = Hang()
    gmail.at("greeting", silent)
    tries = [asyncio.create_task(bench.deliver(each)) for each in recipients]
    async with asyncio.timeout(30):
        while sum(each.done() for each in tries) < len(tries) - 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    silent.release()
    replies = sorted(await asyncio.gather(*tries))
    assert [reply.partition(" ")[0] for reply in replies] == ["250"] * 3 + ["451"] * 5


async def test_the_milter_s_and_the_net_s_identity_are_one(
    bench: Bench, gmail: FakeNextHop
) -> None:
    # As a milter leaves a message that dies between adding and deleting a recipient.
    bench.routes[ONE] = route("me", ["me@gmail.com"])
    assert await bench.deliver(ONE) == await bench.deliver(ONE, message_id=None)
    assert len(gmail.messages) == 1


async def test_copies_are_kept_apart_once_the_next_hop_has_complained(
    bench: Bench, gmail: FakeNextHop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.health.APART", 0.2)
    waits: list[float] = []
    sleep = asyncio.sleep

    async def recorded(seconds: float) -> None:
        waits.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", recorded)
    bench.routes[FAMILY] = route("family", *[[f"{name}@gmail.com"] for name in "abc"])
    complaint = "421 4.7.28 Gmail has detected an unusual rate of mail with this Message-ID"
    gmail.at("dot", complaint, recipient="a@gmail.com", times=1)
    reply = await bench.deliver(FAMILY)
    assert reply == "451 4.7.28 2 of 3 legs sent; leg 1: 421 repeated; leg 2: sent; leg 3: sent"
    assert [wait for wait in waits if wait > 0] == pytest.approx([0.2, 0.2])


async def test_copies_that_would_miss_the_deadline_are_deferred(
    bench: Bench, gmail: FakeNextHop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.health.APART", 3600.0)
    bench.routes[FAMILY] = route("family", ["a@gmail.com"], ["b@gmail.com"])
    complaint = "421 4.7.28 Gmail has detected an unusual rate of mail with this Message-ID"
    gmail.at("dot", complaint, times=1)
    assert (await bench.deliver(FAMILY)).endswith("leg 1: 421 repeated; leg 2: not asked yet")
    assert not gmail.messages
