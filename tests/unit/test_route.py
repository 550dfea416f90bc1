"""Routes: what templates make of a recipient, and what legs are made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import addresses, anything
from waypost.address import MAX_LOCAL_OCTETS, Address, NotAnAddress
from waypost.route import Destination, Fields, NextHop, NextHops, Route, Template

NOWHERE_SPECIAL = NextHops()
raw_addresses = st.builds(Address, anything, anything)
"""What a plugin may make without asking `Address.parse`."""
field_values = anything | addresses | raw_addresses


def expand(template: str, **fields: str | Address) -> str:
    return str(Template.parse(template).expand(fields))


# Templates


@pytest.mark.parametrize(
    ("template", "fields", "expected"),
    [
        ("user1@gmail.com", {}, "user1@gmail.com"),
        ("User1@GMail.com.", {}, "User1@gmail.com"),
        ('"a b"@gmail.com', {}, '"a b"@gmail.com'),
        ('"a@b"@gmail.com', {}, '"a@b"@gmail.com'),
        ("a{{b}}@gmail.com", {}, "a{b}@gmail.com"),
        ("x@bücher.de", {}, "x@xn--bcher-kva.de"),
        ("catchall+{local}@gmail.com", {"local": "user1"}, "catchall+user1@gmail.com"),
        ("{local}@gmail.com", {"local": "a b"}, '"a b"@gmail.com'),
        ("{local}@gmail.com", {"local": 'a"b\\'}, '"a\\"b\\\\"@gmail.com'),
        ("{local}@gmail.com", {"local": "evil@example.org"}, '"evil@example.org"@gmail.com'),
        ("{local}@gmail.com", {"local": "{tag}"}, "{tag}@gmail.com"),
        ("{{{local}}}@gmail.com", {"local": "a"}, "{a}@gmail.com"),
        ("{a}.{b}@gmail.com", {"a": "x", "b": "y"}, "x.y@gmail.com"),
        ("to {a}@gmail.com", {"a": "x"}, '"to x"@gmail.com'),
        ("x+{a}@gmail.com", {"a": Address("u", "d.de")}, '"x+u@d.de"@gmail.com'),
        ("{backup}", {"backup": Address("User", "gmx.de")}, "User@gmx.de"),
    ],
)
def test_a_template_makes_an_address(template: str, fields: Fields, expected: str) -> None:
    assert str(Template.parse(template).expand(fields)) == expected


@pytest.mark.parametrize(
    ("template", "local"),
    [
        ("{local}@gmail.com", ""),
        ("{local}@gmail.com", "a" * 65),
        ("{local}@gmail.com", "ü" * 33),
        ("{local}@gmail.com", "a " * 32),  # 64 octets, and two quotes around them
        ("catchall+{local}@gmail.com", "a" * 56),
        ("{local}@gmail.com", "a\r\nb"),
        ("{local}@gmail.com", "a\0b"),
        ("{local}@gmail.com", "a\udcfcb"),
    ],
    ids=ascii,
)
def test_no_illegal_address_is_made(template: str, local: str) -> None:
    with pytest.raises(NotAnAddress):
        expand(template, local=local)


@given(st.sampled_from(["{a}@gmail.com", "x+{a}@gmail.com", "{a}{b}@[192.0.2.1]"]), st.data())
def test_whatever_a_stranger_types_stays_a_local_part(template: str, data: st.DataObject) -> None:
    parsed = Template.parse(template)
    fields = {name: data.draw(field_values) for name in sorted(parsed.fields)}
    try:
        made = parsed.expand(fields)
    except NotAnAddress:
        return
    assert made.domain == parsed.domain
    assert Address.parse(str(made)) == made
    assert 0 < made.octets_of_local <= MAX_LOCAL_OCTETS
    assert all(octet >= 0x20 and octet != 0x7F for octet in str(made).encode())


@given(raw_addresses | addresses)
def test_a_whole_address_must_be_legal(whole: Address) -> None:
    try:
        made = Template.parse("{backup}").expand({"backup": whole})
    except NotAnAddress:
        return
    assert Address.parse(str(made)) == made
    assert 0 < made.octets_of_local <= MAX_LOCAL_OCTETS


@given(anything | st.just("evil@example.org"))
def test_text_is_never_a_whole_address(text: str) -> None:
    # Whoever types the local part would choose where it goes: an open relay.
    with pytest.raises(TypeError, match="backup"):
        Template.parse("{backup}").expand({"backup": text})


def test_a_field_that_is_lacking_is_named() -> None:
    with pytest.raises(KeyError, match="tag"):
        expand("x+{tag}@gmail.com", local="a")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("", 'has no "@"'),
        ("user1", 'has no "@"'),
        ("{a}{b}", 'has no "@"'),
        ("x{a}", 'has no "@"'),
        ("@gmail.com", "no local part"),
        ("user 1@gmail.com", "no local part"),
        ("user1@gmail .com", "no domain name"),
        ("{local}@gmail .com", "no domain name"),
        ("user1@{subdomain}.net", "in the local part only"),
        ("{local}@g}mail.com", "in the local part only"),
        ("{}@gmail.com", "a plain name"),
        ("{0}@gmail.com", "a plain name"),
        ("{a.b}@gmail.com", "a plain name"),
        ("{a[0]}@gmail.com", "a plain name"),
        ("{a!r}@gmail.com", "a plain name"),
        ("{a:>9999999}@gmail.com", "a plain name"),
        ("{a:{b}}@gmail.com", "a plain name"),
        ("{a@gmail.com", "written twice"),
        ("a}@gmail.com", "written twice"),
        ("}{", "written twice"),
        ('"x {local}"@gmail.com', "without quotes"),
        ("x\\{local}@gmail.com", "without quotes"),
        ("x\n{local}@gmail.com", "control characters"),
        ("x\n@gmail.com", "no local part"),
        (f"{'x' * 65}@gmail.com", "at most 64"),
        (f"{'x' * 64}{{local}}@gmail.com", "at most 64"),
    ],
    ids=ascii,
)
def test_says_what_is_wrong_with_a_template(template: str, why: str) -> None:
    with pytest.raises(NotAnAddress, match=why):
        Template.parse(template)


@given(anything | st.text(st.sampled_from('{}ab@.!: [\\"'), max_size=12))
def test_a_template_is_read_or_refused(text: str) -> None:
    try:
        template = Template.parse(text)
    except NotAnAddress:
        return
    whole = dict.fromkeys(template.fields, Address("a", "b.de"))
    if template.domain is None:
        assert str(template.expand(whole)) == "a@b.de"
    else:
        assert template.expand(dict.fromkeys(template.fields, "x")).domain == template.domain


def test_a_template_tells_its_fields() -> None:
    assert Template.parse("{a}+{b}{a}@gmail.com").fields == {"a", "b"}
    assert Template.parse("{whole}").fields == {"whole"}
    assert Template.parse("x@gmail.com").fields == frozenset()


# Next hops


def test_via_comes_before_next_hops_before_the_default_relay_before_mx() -> None:
    relay = NextHop("smtp.improvmx.com", 587, "improvmx")
    fake = NextHop("127.0.0.1", 2601)
    default = NextHop("relay.net", 25, "default")
    to = Address.parse("a@GMail.com")
    every = NextHops({"improvmx": relay}, {"gmail.com": fake}, default)
    assert every.choose(to, "improvmx") is relay
    assert every.choose(to, None) is fake
    assert NextHops({"improvmx": relay}, {"gmx.de": fake}, default).choose(to, None) is default
    assert NextHops({"improvmx": relay}).choose(to, None) == NextHop("gmail.com")
    with pytest.raises(KeyError, match="other"):
        every.choose(to, "other")


@pytest.mark.parametrize(
    ("next_hop", "name"),
    [
        (NextHop("gmail.com"), "mx:gmail.com"),
        (NextHop("127.0.0.1", 2601), "smtp://127.0.0.1:2601"),
        (NextHop("::1", 25), "smtp://[::1]:25"),
        (NextHop("smtp.improvmx.com", 587, "improvmx"), "improvmx"),
    ],
)
def test_a_next_hop_has_a_name(next_hop: NextHop, name: str) -> None:
    assert next_hop.name == name


def test_one_mailbox_by_one_next_hop_is_one_destination() -> None:
    here, there = NextHop("a.de"), NextHop("b.de")
    first = Destination(Address("User", "gmail.com"), here)
    assert first.key == Destination(Address("user", "gmail.com"), here, via="x").key
    assert first.key != Destination(Address("user", "gmail.com"), there).key
    assert first.key != Destination(Address("user2", "gmail.com"), here).key


# Legs


def route(*legs: list[str]) -> Route:
    return Route("r", tuple(tuple(Template.parse(text) for text in leg) for leg in legs))


def legs(of: Route, **fields: str | Address) -> list[tuple[str, list[str]]]:
    return [
        (leg.name, [str(destination.to) for destination in leg.destinations])
        for leg in of.expand(fields, NOWHERE_SPECIAL)
    ]


def test_a_leg_is_named_by_its_expanded_first_destination() -> None:
    family = route(["A+{local}@x.de", "b@x.de"], ["c@x.de", "b@x.de"])
    assert legs(family, local="Bob") == [
        ("a+bob@x.de", ["A+Bob@x.de", "b@x.de"]),
        ("c@x.de", ["c@x.de", "b@x.de"]),
    ]


def test_the_order_of_legs_and_later_destinations_do_not_touch_a_name() -> None:
    before = route(["a@x.de", "b@x.de"], ["c@x.de"])
    after = route(["c@x.de", "d@x.de"], ["A@x.de"])
    assert {name for name, _ in legs(before)} == {name for name, _ in legs(after)}


def test_what_makes_no_legal_address_is_skipped() -> None:
    one = route(["catchall+{tag}@gmail.com", "{tag}@gmx.de", "a@gmx.de"], ["{tag}@x.de"])
    assert legs(one, tag="") == [("catchall+@gmail.com", ["catchall+@gmail.com", "a@gmx.de"])]
    assert legs(one, tag="x" * 80) == [("a@gmx.de", ["a@gmx.de"])]
    assert legs(route(["{tag}@x.de"]), tag="") == []


def test_two_legs_with_one_first_destination_are_one() -> None:
    assert legs(route(["{local}@x.de"], ["bob@x.de"]), local="Bob") == [("bob@x.de", ["Bob@x.de"])]


def test_a_destination_stands_once_in_a_leg() -> None:
    one = route(["{local}@x.de", "b@x.de", "BOB@x.de"])
    assert legs(one, local="bob") == [("bob@x.de", ["bob@x.de", "b@x.de"])]


def test_one_mailbox_by_two_next_hops_stands_twice() -> None:
    relay = NextHop("relay.net", 25, "relay")
    one = Route("r", ((Template.parse("a@x.de"), Template.parse("a@x.de", via="relay")),))
    (leg,) = one.expand({}, NextHops({"relay": relay}))
    assert [destination.next_hop for destination in leg.destinations] == [NextHop("x.de"), relay]
    assert [destination.via for destination in leg.destinations] == [None, "relay"]


def test_a_last_resort_ends_every_leg_that_lacks_it() -> None:
    template = Template.parse("z@x.de")
    ended = route(["a@x.de"], ["z@x.de", "b@x.de"]).with_last_resort(template)
    assert legs(ended) == [("a@x.de", ["a@x.de", "z@x.de"]), ("z@x.de", ["z@x.de", "b@x.de"])]
    assert [len(leg) for leg in ended.legs] == [2, 2]
