"""The resolver: which route a recipient has, and that trouble is never an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from waypost import resolver as module
from waypost.address import Address, Recipient
from waypost.hookspecs import Find, Hit
from waypost.resolver import (
    Domain,
    Domains,
    MatcherInUse,
    MatcherTrouble,
    NotOurs,
    Resolution,
    Resolver,
    Routed,
    RuleInUse,
    Unknown,
    Untouched,
)
from waypost.route import NextHops, Route, Template


def route(name: str, *destinations: str) -> Route:
    templates = destinations or (f"{name}@gmail.com",)
    return Route(name, (tuple(Template.parse(text) for text in templates),))


def matcher(name: str, find: Find, *routes: Route, precedence: int = 100) -> MatcherInUse:
    rules = [RuleInUse(each, f"{name} rule {i}") for i, each in enumerate(routes)]
    return MatcherInUse(name, precedence, find, rules)


def always(*hits: Hit) -> Find:
    return lambda _: hits


def never(_: Recipient) -> Sequence[Hit]:
    return ()


def must_not_be_asked(_: Recipient) -> Sequence[Hit]:
    raise AssertionError("an earlier matcher had decided")


def misbehaving(find: object) -> Find:
    """A `find` that breaks the contract, as a plugin without type checks may."""
    return cast("Find", find)


OURS = Domains(
    {
        "mydomain.net": Domain("mydomain.net"),
        "user1.mydomain.net": Domain("user1.mydomain.net", delimiter="-"),
        "seconddomain.de": Domain("seconddomain.de", unmatched="pass"),
    },
    frozenset({"imx.mydomain.net"}),
)


async def resolve(
    text: str, *matchers: MatcherInUse, trace: bool = False, domains: Domains = OURS
) -> Resolution:
    return await Resolver(domains, matchers, NextHops()).resolve(Address.parse(text), trace=trace)


async def routed(text: str, *matchers: MatcherInUse, trace: bool = False) -> Routed:
    resolution = await resolve(text, *matchers, trace=trace)
    assert isinstance(resolution, Routed)
    return resolution


async def trouble(*matchers: MatcherInUse) -> MatcherTrouble:
    with pytest.raises(MatcherTrouble) as caught:
        await resolve("user1@mydomain.net", *matchers)
    return caught.value


# Domains


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("mydomain.net", "mydomain.net"),
        ("a.mydomain.net", "mydomain.net"),
        ("deep.a.mydomain.net", "mydomain.net"),
        ("user1.mydomain.net", "user1.mydomain.net"),
        ("a.user1.mydomain.net", "user1.mydomain.net"),
        ("imx.mydomain.net", None),
        ("a.imx.mydomain.net", None),
        ("notmydomain.net", None),
        ("net", None),
        ("mydomain.net.evil.org", None),
        ("[192.0.2.1]", None),
    ],
)
def test_the_longest_domain_decides(domain: str, found: str | None) -> None:
    of_ours = OURS.find(domain)
    assert (of_ours.name if of_ours else None) == found


def test_a_domain_of_ours_below_one_that_is_not_is_ours() -> None:
    domains = Domains(
        {name: Domain(name) for name in ("mydomain.net", "a.imx.mydomain.net")},
        frozenset({"imx.mydomain.net"}),
    )
    assert domains.find("imx.mydomain.net") is None
    assert domains.find("b.imx.mydomain.net") is None
    assert domains.find("x.a.imx.mydomain.net") == Domain("a.imx.mydomain.net")


async def test_matchers_are_not_asked_about_other_domains() -> None:
    asks = matcher("any", must_not_be_asked, route("r"))
    for text in ("a@gmail.com", "a@imx.mydomain.net", "a@[192.0.2.1]", "a@net"):
        assert await resolve(text, asks) == NotOurs()


async def test_matchers_are_given_the_recipient_and_its_domain() -> None:
    asked: list[Recipient] = []

    def find(recipient: Recipient) -> Sequence[Hit]:
        asked.append(recipient)
        return ()

    await resolve("User1-shop@a.User1.mydomain.net", matcher("any", find, route("r")))
    (recipient,) = asked
    assert recipient.domain == "user1.mydomain.net"
    assert (recipient.base, recipient.tag, recipient.subdomain) == ("User1", "shop", "a")


async def test_what_no_matcher_knows_is_unknown_or_untouched() -> None:
    knows_nothing = matcher("none", never, route("r"))
    assert isinstance(await resolve("a@mydomain.net", knows_nothing), Unknown)
    assert isinstance(await resolve("a@mydomain.net"), Unknown)
    assert isinstance(await resolve("a@sub.seconddomain.de", knows_nothing), Untouched)


# The match


async def test_the_first_matcher_that_knows_it_decides_and_later_ones_are_not_asked() -> None:
    resolution = await routed(
        "user1@mydomain.net",
        matcher("exact", never, route("wrong"), precedence=100),
        matcher("plus", always(Hit(1)), route("other"), route("right"), precedence=200),
        matcher("catch_all", must_not_be_asked, route("late"), precedence=900),
    )
    assert resolution.match.matcher == "plus"
    assert resolution.match.rule == "plus rule 1"
    assert resolution.match.route.name == "right"
    assert [leg.name for leg in resolution.legs] == ["right@gmail.com"]
    assert resolution.shadowed == ()


async def test_a_trace_tells_all_that_was_shadowed_in_order() -> None:
    resolution = await routed(
        "user1@mydomain.net",
        matcher("exact", always(Hit(0), Hit(1)), route("a"), route("b")),
        matcher("plus", never, route("c")),
        matcher("regex", always(Hit(0, {"x": "1"})), route("d")),
        trace=True,
    )
    assert resolution.match.route.name == "a"
    assert [(each.matcher, each.route.name) for each in resolution.shadowed] == [
        ("exact", "b"),
        ("regex", "d"),
    ]
    assert resolution.shadowed[1].fields == {"x": "1"}


async def test_a_trace_changes_nothing_about_the_answer() -> None:
    matchers = [
        matcher("exact", always(Hit(1)), route("a"), route("b")),
        matcher("catch_all", always(Hit(0)), route("c")),
    ]
    plain = await routed("user1@mydomain.net", *matchers)
    traced = await routed("user1@mydomain.net", *matchers, trace=True)
    assert (plain.match, plain.legs) == (traced.match, traced.legs)


async def test_fields_of_recipient_and_hit_reach_the_templates() -> None:
    to = route("r", "{local}.{tag}.{subdomain}.{shop}@x.de", "{backup}")
    backup = Address("a", "gmx.de")
    find = always(Hit(0, {"shop": "books", "backup": backup}))
    resolution = await routed("User1+t@deep.mydomain.net", matcher("m", find, to))
    (leg,) = resolution.legs
    assert [str(each.to) for each in leg.destinations] == [
        "User1+t.t.deep.books@x.de",
        "a@gmx.de",
    ]


async def test_a_route_whose_templates_make_no_address_is_still_the_route() -> None:
    # It is refused as 5.1.3 and does not fall to the catch-all, which would hide the mistake.
    resolution = await routed(
        "user1@mydomain.net",
        matcher("exact", always(Hit(0)), route("r", "{tag}@x.de")),
        matcher("catch_all", always(Hit(0)), route("c")),
    )
    assert (resolution.match.route.name, resolution.legs) == ("r", ())


# Trouble


class OfOurOwn(Exception):
    pass


def raising(error: BaseException) -> Find:
    def find(_: Recipient) -> Sequence[Hit]:
        raise error

    return find


def raising_later(error: BaseException) -> Find:
    async def find(_: Recipient) -> Sequence[Hit]:
        await asyncio.sleep(0)
        raise error

    return find


@pytest.mark.parametrize("kind", [raising, raising_later])
@pytest.mark.parametrize(
    "error", [OfOurOwn("oh"), KeyError("k"), TimeoutError(), OSError(), RecursionError()], ids=repr
)
async def test_what_a_matcher_raises_is_trouble(
    kind: Callable[[BaseException], Find], error: Exception
) -> None:
    found = await trouble(
        matcher("exact", never, route("a")),
        matcher("bad", kind(error), route("b")),
        matcher("catch_all", must_not_be_asked, route("c")),
    )
    assert found.matcher == "bad"
    assert '"bad"' in str(found)
    assert found.__cause__ is error


async def test_a_matcher_that_fails_after_the_decision_does_not_matter() -> None:
    resolution = await routed(
        "user1@mydomain.net",
        matcher("exact", always(Hit(0)), route("a")),
        matcher("bad", raising(OfOurOwn("oh")), route("b")),
    )
    assert resolution.match.route.name == "a"


async def test_a_matcher_that_waits_is_awaited() -> None:
    async def find(recipient: Recipient) -> Sequence[Hit]:
        await asyncio.sleep(0)
        return [Hit(0)] if recipient.base == "user1" else []

    slow = matcher("directory", find, route("a"))
    assert (await routed("user1@mydomain.net", slow)).match.matcher == "directory"
    assert isinstance(await resolve("user2@mydomain.net", slow), Unknown)


async def test_a_matcher_that_does_not_answer_in_time_is_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIND_SECONDS", 0.01)
    cancelled = asyncio.Event()

    async def find(_: Recipient) -> Sequence[Hit]:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ()

    found = await trouble(matcher("slow", find, route("a")))
    assert "no answer within 0.01 s" in str(found)
    assert cancelled.is_set()


def test_a_matcher_has_two_seconds() -> None:
    assert module.FIND_SECONDS == 2.0


async def test_what_a_matcher_waited_for_and_was_cancelled_is_trouble() -> None:
    shared: asyncio.Future[Sequence[Hit]] = asyncio.get_running_loop().create_future()
    shared.cancel()

    async def find(_: Recipient) -> Sequence[Hit]:
        return await shared

    found = await trouble(matcher("shared", find, route("a")))
    assert "cancelled" in str(found)


async def test_whoever_cancels_us_cancels_us() -> None:
    asked = asyncio.Event()

    async def find(_: Recipient) -> Sequence[Hit]:
        asked.set()
        await asyncio.Event().wait()
        return ()

    task = asyncio.create_task(resolve("user1@mydomain.net", matcher("m", find, route("a"))))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "found",
    [
        None,
        True,
        5,
        "text",
        [None],
        [0],
        [(0, {})],
        Hit(0),
        [Hit(1)],
        [Hit(-1)],
        [Hit(cast("int", None))],
        [Hit(cast("int", "0"))],
        [Hit(0, cast("dict[str, str]", None))],
        [Hit(0, cast("dict[str, str]", ["local"]))],
        [Hit(0, cast("dict[str, str]", {"x": 5}))],
        [Hit(0, cast("dict[str, str]", {"x": None}))],
        [Hit(0), Hit(7)],
    ],
    ids=repr,
)
@pytest.mark.parametrize("waits", [False, True])
async def test_hits_that_are_none_are_trouble(found: object, waits: bool) -> None:
    def answer(_: Recipient) -> object:
        return found

    async def answer_later(_: Recipient) -> object:
        return found

    find = misbehaving(answer_later if waits else answer)
    assert (await trouble(matcher("bad", find, route("a")))).matcher == "bad"


async def test_a_generator_is_heard_to_its_end() -> None:
    def find(recipient: Recipient) -> object:
        yield Hit(0)
        if recipient.tag:
            raise OfOurOwn("oh")

    generates = matcher("generates", misbehaving(find), route("a"))
    assert (await routed("user1@mydomain.net", generates)).match.route.name == "a"
    with pytest.raises(MatcherTrouble, match="oh"):
        await resolve("user1+x@mydomain.net", generates)


async def test_a_hit_that_lacks_a_field_is_trouble() -> None:
    found = await trouble(matcher("m", always(Hit(0)), route("a", "{shop}@x.de")))
    assert (found.matcher, str(found)) == ("m", "matcher \"m\": its hit lacks the field 'shop'")


async def test_text_where_a_whole_address_is_wanted_is_trouble() -> None:
    find = always(Hit(0, {"backup": "evil@example.org"}))
    found = await trouble(matcher("m", find, route("a", "{backup}")))
    assert "no whole address" in str(found)
