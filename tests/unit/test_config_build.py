"""What a configuration means once it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fake_matchers import lookup, word
from waypost.config import Config, ConfigError, Listen, Outgoing, parse_toml, read
from waypost.hookspecs import Matcher
from waypost.reply import ReplyClass
from waypost.resolver import Domain
from waypost.route import NextHop, Tls, TlsPolicy

MATCHERS: Sequence[Matcher[Any]] = (word(), word("other", 50), lookup({}))

MINIMAL = """
    domains = ["mydomain.net"]
    [routes.user1]
    match.word = ["user1"]
    deliver = ["user1@gmail.com"]
"""


def config(toml: str) -> Config:
    return read(parse_toml(toml), MATCHERS)


def problems(toml: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(toml)
    return [str(problem) for problem in caught.value.problems]


def templates(of: Config, route: int = 0) -> list[list[str]]:
    return [[template.text for template in leg] for leg in of.routes[route].legs]


def test_domains_and_a_route_are_enough() -> None:
    read_so = config(MINIMAL)
    assert read_so.domains.ours == {"mydomain.net": Domain("mydomain.net", "reject", "+")}
    assert read_so.domains.not_ours == frozenset()
    assert read_so.route_domain == "waypost.invalid"
    assert read_so.state == Path("/var/lib/waypost")
    assert read_so.milter == Listen(path="/var/spool/postfix/waypost/milter.sock")
    assert read_so.transport == Listen(path="/var/spool/postfix/waypost/lmtp.sock")
    assert read_so.deadline == 1800
    assert read_so.outgoing == Outgoing(None, None, "any")
    assert [route.name for route in read_so.routes] == ["user1"]
    assert read_so.routes[0].success == "all"
    assert templates(read_so) == [["user1@gmail.com"]]
    assert [matcher.name for matcher in read_so.matchers] == ["word"]
    assert read_so.warnings == ()


def test_all_keys_of_the_top_and_the_services() -> None:
    read_so = config("""
        domains = ["MyDomain.net", "münchen.de", "mydomain.net"]
        not_ours = ["imx.mydomain.net"]
        unmatched = "pass"
        delimiter = "+-"
        route_domain = "route.invalid"
        state = "/srv/waypost"
        [milter]
        listen = "inet:127.0.0.1:9900"
        [transport]
        listen = "inet:127.0.0.1:9901"
        deadline = "10m"
        [domain."münchen.de"]
        unmatched = "reject"
        [domain."mydomain.net"]
        delimiter = ""
        [outgoing]
        helo = "mx.mydomain.net"
        bind = "192.0.2.1"
        address_family = "ipv4"
        [routes.user1]
        match.word = "user1"
        deliver = ["user1@gmail.com"]
    """)
    assert read_so.domains.ours == {
        "mydomain.net": Domain("mydomain.net", "pass", ""),
        "xn--mnchen-3ya.de": Domain("xn--mnchen-3ya.de", "reject", "+-"),
    }
    assert read_so.domains.not_ours == {"imx.mydomain.net"}
    assert read_so.route_domain == "route.invalid"
    assert read_so.state == Path("/srv/waypost")
    assert str(read_so.milter) == "inet:127.0.0.1:9900"
    assert str(read_so.transport) == "inet:127.0.0.1:9901"
    assert read_so.deadline == 600
    assert read_so.outgoing == Outgoing("mx.mydomain.net", "192.0.2.1", "ipv4")


def test_next_hops_and_relays() -> None:
    hops = config("""
        domains = ["mydomain.net"]
        [outgoing]
        default_relay = "smarthost"
        [relays.improvmx]
        url = "smtp://smtp.improvmx.com:587"
        tls = "never"
        [relays.smarthost]
        url = "smtp://192.0.2.1"
        [next_hops]
        "GMail.com" = "smtp://127.0.0.1:2601"
        "mydomain.net" = "smtp://127.0.0.1:2602"
        [routes.user1]
        match.word = ["user1"]
        deliver = [
            "user1@gmail.com",
            { to = "user1@imx.mydomain.net", via = "improvmx" },
            "postmaster@mydomain.net",
            "user1@gmx.de",
        ]
    """).next_hops
    improvmx = NextHop("smtp.improvmx.com", 587, "improvmx", Tls(TlsPolicy.NEVER))
    smarthost = NextHop("192.0.2.1", 25, "smarthost")
    assert hops.relays == {"improvmx": improvmx, "smarthost": smarthost}
    assert hops.by_domain == {
        "gmail.com": NextHop("127.0.0.1", 2601),
        "mydomain.net": NextHop("127.0.0.1", 2602),
    }
    assert hops.default == smarthost


DEFAULTS = """
    domains = ["mydomain.net"]
    [defaults]
    last_resort = "lastresort@outlook.com"
    success = "any"
    failover_after = { greylisted = "5m", throttled = "1h" }
    [routes.family]
    match.word = ["family"]
    fan_out = [["email1@gmail.com", "email1@outlook.com"], "lastresort@outlook.com"]
"""


def test_defaults_apply_where_a_route_says_nothing() -> None:
    read_so = config(DEFAULTS)
    assert templates(read_so) == [
        ["email1@gmail.com", "email1@outlook.com", "lastresort@outlook.com"],
        ["lastresort@outlook.com"],
    ]
    assert read_so.routes[0].success == "any"
    assert read_so.routes[0].failover_after == {"greylisted": 300, "throttled": 3600}
    assert read_so.routes[0].failover_after[ReplyClass.GREYLISTED] == 300


def test_a_routes_own_last_resort_replaces_that_of_the_defaults() -> None:
    own = DEFAULTS + 'last_resort = { to = "other@outlook.com" }\n'
    assert templates(config(own))[1] == ["lastresort@outlook.com", "other@outlook.com"]
    assert templates(config(DEFAULTS + "last_resort = []\n"))[0] == [
        "email1@gmail.com",
        "email1@outlook.com",
    ]


def test_a_routes_own_words_win_over_the_defaults() -> None:
    own = 'success = "all"\nfailover_after = { greylisted = 0 }\non_failure = "bounce"\n'
    route = config(DEFAULTS + own).routes[0]
    assert route.success == "all"
    assert route.failover_after == {"greylisted": 0, "throttled": 3600}


def test_matchers_are_compiled_by_precedence_with_rules_in_file_order() -> None:
    read_so = config("""
        domains = ["mydomain.net"]
        [routes.b]
        match.word = ["b1", "b2"]
        deliver = ["b@gmail.com"]
        [routes.a]
        match.other = ["a1"]
        match.word = "a2"
        deliver = ["a@gmail.com"]
        [routes.table]
        match.lookup = { table = "users" }
        deliver = ["{destination}"]
    """)
    told = [
        (matcher.name, [(rule.route.name, rule.text) for rule in matcher.rules])
        for matcher in read_so.matchers
    ]
    assert told == [
        ("other", [("a", "a1")]),
        ("word", [("b", "b1"), ("b", "b2"), ("a", "a2")]),
        ("lookup", [("table", '{ table = "users" }')]),
    ]
    assert read_so.matchers[0].rules[0].route is read_so.routes[1]


def test_every_mistake_is_told_at_once() -> None:
    told = problems("""
        domains = ["mydomain.net"]
        unmatched = "rejct"
        [milter]
        listne = "inet:127.0.0.1:9900"
        [domain."other.net"]
        [relays.Relay]
        url = "smtp://host:0"
        [routes.a]
        match.word = ["same", "a?", 5]
        deliver = ["a@gmail.com", { to = "a@mydomain.net", via = "none" }]
        succes = "any"
        [routes.b]
        match.word = ["same"]
        match.wrod = ["b"]
        deliver = ["b@mydomain.net", "{shop}@gmail.com"]
    """)
    assert [each.split(":")[0] for each in told] == [
        "unmatched",
        "milter.listne",
        "relays.Relay.url",
        "routes.a.succes",
        'domain."other.net"',
        "routes.a.deliver[1]",
        "routes.b.deliver[0]",
        "routes.b.match.wrod",
        "routes.a.match.word[2]",
        "routes.a.match.word[1]",
        "routes.b.match.word[0]",
        "routes.b.deliver[1]",
    ]


def test_a_destination_without_at_sign_is_a_field_that_must_hold_a_whole_address() -> None:
    told = problems("""
        domains = ["mydomain.net"]
        [routes.a]
        match.word = ["a"]
        deliver = ["{tag}", "x+{tag}@gmail.com"]
    """)
    assert len(told) == 1
    assert told[0].startswith("routes.a.deliver[0]: {tag} is what a stranger typed")


def test_a_last_resort_of_the_defaults_needs_its_fields_in_every_route() -> None:
    (told,) = problems("""
        domains = ["mydomain.net"]
        [defaults]
        last_resort = "{shop}@gmail.com"
        [routes.a]
        match.word = ["a/shop"]
        deliver = ["{shop}@gmx.de"]
        [routes.b]
        match.word = ["b/shop", "c"]
        deliver = ["b@gmx.de"]
    """)
    assert told == (
        'defaults.last_resort: not every rule of the route "b" has a field "shop": '
        "routes.b.match.word[1] lacks it"
    )


def test_what_depends_on_unreadable_domains_is_not_judged() -> None:
    told = problems("""
        domains = ["mydomain.net", "not a domain"]
        not_ours = ["imx.mydomain.net"]
        [domain."mydomain.net"]
        unmatched = "pass"
        [routes.a]
        match.word = ["sub.mydomain.example"]
        deliver = ["a@mydomain.net"]
    """)
    assert told == ['domains[1]: "not a domain" is no domain name']


def test_a_destination_in_the_route_domain_is_refused() -> None:
    assert problems(MINIMAL.replace("user1@gmail.com", "x@waypost.invalid")) == [
        'routes.user1.deliver[0]: "waypost.invalid" is the route domain; no mail is written to it'
    ]


@pytest.mark.parametrize("route_domain", ["mydomain.net", "a.mydomain.net", "net"])
def test_the_route_domain_is_apart_from_ours(route_domain: str) -> None:
    told = problems(f'route_domain = "{route_domain}"\n{MINIMAL}')
    assert len(told) == 1
    assert told[0].startswith(
        f'route_domain: "{route_domain}" and "mydomain.net" of domains overlap'
    )


def test_without_routes_there_is_a_warning() -> None:
    assert [str(each) for each in config('domains = ["mydomain.net"]').warnings] == [
        "routes: warning: there is no route, so no mail is forwarded"
    ]


KEYS = st.sampled_from([
    "domains", "not_ours", "unmatched", "delimiter", "route_domain", "state", "milter", "transport",
    "domain", "outgoing", "relays", "next_hops", "routes", "defaults", "listen", "deadline", "helo",
    "bind", "address_family", "default_relay", "url", "tls", "username", "password_file", "ca_file",
    "client_cert", "client_key", "match",
    "deliver", "fan_out", "last_resort", "success", "failover_after", "on_failure", "to", "via",
    "word", "lookup", "table", "column", "gmail", "com", "mydomain.net", "user1", "greylisted",
])  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([
        "mydomain.net", "user1@gmail.com", "{local}@gmail.com", "{x}", "smtp://h:1", "smtps://h",
        "inet:h:1", "unix:/s", "user1", "user1/x", "15m", "hold", "pass", "/", "\b",
    ]),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS | st.text(), each, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.dictionaries(KEYS, VALUES, max_size=2),
)
def test_whatever_is_written_it_is_a_configuration_or_a_list_of_problems(
    top: dict[str, object], route: dict[str, object], section: dict[str, object]
) -> None:
    document: dict[str, object] = {
        **parse_toml(MINIMAL),
        **dict.fromkeys(("milter", "domain", "relays", "next_hops", "defaults"), section),
        **top,
    }
    if isinstance(document["routes"], dict):
        document["routes"]["user2"] = route
    before = repr(document)
    told = "nothing"
    try:
        read(document, MATCHERS)
    except ConfigError as error:
        told = str(error)
    assert told
    assert repr(document) == before
