"""What the milter answers when something of ours fails, and whom it tells; the rest: dialogues."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.dialogues.milter_mta import Script, World, message_id, packet, rcpt, route
from waypost.address import Address, RouteAddresses
from waypost.events import Resolved
from waypost.milter.conversation import Conversation, Services
from waypost.resolver import Resolver

TROUBLE = packet(b"y451 4.3.0 trouble here, please try again later\0")
CONTINUE = packet(b"c")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def services(world: World) -> Services:
    return Services(
        world.resolver,
        lambda: world.route_addresses,
        world.new_id,
        world.events.append,
        lambda: 1000.0,
    )


def none_to_be_had() -> Resolver:
    raise RuntimeError("no configuration")


async def test_trouble_beyond_matchers_is_temporary_too(services: Services) -> None:
    conversation = Conversation(replace(services, resolver=none_to_be_had))
    with capture_logs() as logs:
        assert await conversation.answer(rcpt("user1@mydomain.net")) == TROUBLE
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["milter_trouble"]
    # The recipient is not ours to exchange then.
    assert await conversation.answer(b"E") == CONTINUE


async def test_the_log_names_the_matcher_that_failed(services: Services) -> None:
    with capture_logs() as logs:
        await Conversation(services).answer(rcpt("broken@mydomain.net"))
    (trouble,) = (entry for entry in logs if entry["event"] == "milter_trouble")
    assert trouble["matcher"] == "by-name"
    assert trouble["recipient"] == "broken@mydomain.net"
    assert trouble["exc_info"]


async def test_a_route_address_that_cannot_be_made_keeps_the_message_with_the_client(
    services: Services,
) -> None:
    ids = iter(["no id at all", message_id(1)])
    conversation = Conversation(replace(services, new_id=lambda: next(ids)))
    await conversation.answer(rcpt("user1@mydomain.net"))
    with capture_logs() as logs:
        assert await conversation.answer(b"E") == TROUBLE
    assert logs[0]["event"] == "milter_trouble"
    # And nothing of it is left for the next message.
    await conversation.answer(rcpt("user2@mydomain.net"))
    exchanged = await conversation.answer(b"E")
    assert b"user2=mydomain.net@" in exchanged
    assert b"user1" not in exchanged


async def test_a_reload_takes_effect_with_the_next_recipient(
    world: World, services: Services
) -> None:
    conversation = Conversation(services)
    assert await conversation.answer(rcpt("late@mydomain.net")) != CONTINUE
    world.routes["late"] = route("late", "late@gmail.com")
    assert await conversation.answer(rcpt("late@mydomain.net")) == CONTINUE


async def test_all_recipients_of_a_message_share_its_id(world: World, services: Services) -> None:
    conversation = Conversation(services)
    for _ in range(2):
        await conversation.answer(b"M<s@example.org>\0")
        await conversation.answer(rcpt("user1@mydomain.net"))
        await conversation.answer(rcpt("user2@mydomain.net"))
        await conversation.answer(b"E")
    assert world.messages == 2


async def test_no_id_is_spent_on_foreign_mail(world: World, services: Services) -> None:
    conversation = Conversation(services)
    await conversation.answer(rcpt("someone@elsewhere.example"))
    assert await conversation.answer(b"E") == CONTINUE
    assert world.messages == 0


async def test_each_recipient_is_told_with_its_verdict(world: World, services: Services) -> None:
    conversation = Conversation(services)
    genuine = str(world.route_addresses.make(message_id(1), Address.parse("user1@mydomain.net")))
    told = {
        "User1+shop@mydomain.net": ("routed", "user1"),
        "nobody@mydomain.net": ("unknown", None),
        "nowhere+123456789012345678901234567890@mydomain.net": ("unknown", "nowhere"),
        "joe (comment)@mydomain.net": ("unknown", None),
        "mailbox@kept.example": ("untouched", None),
        genuine: ("untouched", None),
        "x@waypost.invalid": ("unknown", None),
        "someone@elsewhere.example": ("not_ours", None),
        "broken@mydomain.net": ("trouble", None),
    }
    for recipient in told:
        await conversation.answer(rcpt(recipient))
    assert world.events == [Resolved(1000.0, to, *verdict) for to, verdict in told.items()]


async def test_what_is_told_of_octets_that_are_no_text_can_be_encoded(
    world: World, services: Services
) -> None:
    await Conversation(services).answer(rcpt(b"j\xfcrgen@mydomain.net"))
    (event,) = world.events
    assert isinstance(event, Resolved)
    assert event.recipient.encode() == b"j\\xfcrgen@mydomain.net"


async def test_the_log_tells_what_became_of_a_message(services: Services) -> None:
    conversation = Conversation(services)
    with capture_logs() as logs:
        await conversation.answer(rcpt("user2@mydomain.net"))
        await conversation.answer(rcpt("user1@mydomain.net"))
        await conversation.answer(rcpt("user1+x@mydomain.net"))
        await conversation.answer(b"DEi\x004bX9\0")
        await conversation.answer(b"E")
    assert logs[-1] == {
        "event": "milter_rewritten",
        "log_level": "info",
        "queue_id": "4bX9",
        "id": message_id(1),
        "recipients": 3,
        "routes": ["user1", "user2"],
    }


async def test_macros_of_one_message_do_not_name_the_next(services: Services) -> None:
    conversation = Conversation(services)
    await conversation.answer(b"DEi\0first\0")
    await conversation.answer(b"E")
    await conversation.answer(rcpt("user1@mydomain.net"))
    with capture_logs() as logs:
        await conversation.answer(b"E")
    assert logs[-1]["queue_id"] is None


async def test_another_route_domain_is_another(world: World, services: Services) -> None:
    world.route_addresses = RouteAddresses("route.example", b"k" * 32)
    conversation = Conversation(services)
    assert await conversation.answer(rcpt("x@waypost.invalid")) == CONTINUE
    assert await conversation.answer(rcpt("x@route.example")) != CONTINUE
    assert Script(world).line((await conversation.answer(rcpt("x@route.example")))[4:]) == (
        "550 5.7.1 this address takes no mail"
    )
