"""How single values are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.config import Listen, values
from waypost.route import NextHop, Tls, TlsPolicy

SMTPS = Tls(TlsPolicy.REQUIRE, from_the_start=True)


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("unix:/run/waypost/milter.sock", Listen(path="/run/waypost/milter.sock")),
        ("inet:127.0.0.1:9900", Listen(host="127.0.0.1", port=9900)),
        ("inet:localhost:1", Listen(host="localhost", port=1)),
        ("inet:[::1]:65535", Listen(host="::1", port=65535)),
    ],
)
def test_sockets(text: str, listen: Listen) -> None:
    assert Listen.parse(text) == listen
    assert str(listen) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/run/milter.sock", 'written "unix:/path" or "inet:host:port"'),
        ("unxi:/run/milter.sock", 'did you mean "unix"'),
        ("unix:milter.sock", "starts with a slash"),
        ("unix:/" + "a" * 107, "at most 107 bytes"),
        ("inet:127.0.0.1", 'written "unix:/path" or "inet:host:port"'),
        ("inet::9900", 'not "host" or "host:port"'),
        ("inet:::1:9900", "IPv6 in brackets"),
        ("inet:127.0.0.1:0", "from 1 to 65535"),
        ("inet:127.0.0.1:65536", "from 1 to 65535"),
        ("inet:[1::2::3]:25", "At most one '::'"),
        ("inet:a b:25", "no domain name"),
        ("inet:*:25", "any address is"),
    ],
)
def test_what_is_no_socket(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Listen.parse(text)


def test_the_longest_path_of_a_socket_is_legal() -> None:
    assert Listen.parse("unix:/" + "a" * 106).path == "/" + "a" * 106


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("smtp://smtp.improvmx.com:587", NextHop("smtp.improvmx.com", 587)),
        ("smtp://SMTP.example.com", NextHop("smtp.example.com", 25)),
        ("smtp://127.0.0.1:2601/", NextHop("127.0.0.1", 2601)),
        ("smtp://[::1]:2601", NextHop("::1", 2601)),
        ("smtp://[2001:DB8::1]", NextHop("2001:db8::1", 25)),
        ("smtps://smtp.improvmx.com", NextHop("smtp.improvmx.com", 465, tls=SMTPS)),
        ("smtps://127.0.0.1:4650", NextHop("127.0.0.1", 4650, tls=SMTPS)),
    ],
)
def test_next_hops(text: str, hop: NextHop) -> None:
    assert values.next_hop(text) == hop


@pytest.mark.parametrize(
    "text",
    [
        "", "smtp.example.com", "smtp://", "smtp:///", "lmtp://host", "smtp://user@host",
        "smtp://host/path", "smtp://host:x", "smtp://a b", "smtp://::1:25",
    ],
)  # fmt: skip
def test_what_is_no_next_hop(text: str) -> None:
    with pytest.raises(ValueError, match=r"smtp://|host:port|domain name"):
        values.next_hop(text)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("15m", 900),
        ("1h30m", 5400),
        ("90s", 90),
        ("2d", 172800),
        ("1d1h1m1s", 90061),
        (0, 0),
        (45, 45),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert values.duration(written) == seconds


@given(st.integers(0, 366 * 86400))
def test_durations_are_told_as_they_are_read(seconds: int) -> None:
    assert values.duration(values.duration_text(float(seconds))) == seconds


@pytest.mark.parametrize("written", [366 * 86400 + 1, 10**400, "367d", "999999999d"])
def test_no_duration_is_longer_than_a_year(written: object) -> None:
    with pytest.raises(ValueError, match="longer than a year"):
        values.duration(written)


@pytest.mark.parametrize(
    "written",
    ["", "15", "15 m", "m", "30m1h", "-5m", "1.5h", -1, 1.5, True, None, ["15m"], "9" * 5000],
)
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="no duration"):
        values.duration(written)


def test_a_deadline_leaves_postfix_time() -> None:
    assert values.deadline("59m59s") == 3599
    for written in ("1h", 3600, 0, "0s"):
        with pytest.raises(ValueError, match="below one hour"):
            values.deadline(written)


def test_delimiters() -> None:
    for text in ("", "+", "+-", "=", "~"):
        assert values.delimiter(text) == text
    for text in ("x", "5", " ", "+ ", "@", '"', "\t", "\0"):
        with pytest.raises(ValueError, match="cannot start a tag"):
            values.delimiter(text)


def test_names() -> None:
    for text in ("user1", "everyone-else", "0", "a" * 63):
        assert values.name(text) == text
    for text in ("", "User1", "user.name", "user_1", "a" * 64, "jörg", "a\n"):
        with pytest.raises(ValueError, match="no name"):
            values.name(text)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("MyDomain.NET", "mydomain.net"),
        ("mydomain.net.", "mydomain.net"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("localhost", "localhost"),
        ("4.example", "4.example"),
    ],
)
def test_domains(text: str, domain: str) -> None:
    assert values.domain(text) == domain


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.2.1", r'is an IP address; in place of a domain it is "\[192.0.2.1\]"'),
        ("192.0.2.1.", "is an IP address"),
        ("2001:db8::1", "no domain name$"),
        ("a.de, b.de", "no domain name; each domain has quotes of its own"),
        ("a.de b.de", "no domain name; each domain has quotes of its own"),
        ("user1@a.de", 'no domain name; write what stands behind the "@"'),
        (" a.de", "no domain name$"),
        ("", "no domain name$"),
    ],
)
def test_what_is_no_domain(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        values.domain(text)


def test_paths_and_ip_addresses() -> None:
    assert values.absolute_path("/var/lib/waypost") == Path("/var/lib/waypost")
    for text in ("", "state", "~/waypost"):
        with pytest.raises(ValueError, match="absolute path"):
            values.absolute_path(text)
    assert values.ip_address("2001:DB8::1") == "2001:db8::1"
    with pytest.raises(ValueError, match="IP address"):
        values.ip_address("localhost")


def test_only_what_fails_can_be_waited_for() -> None:
    assert values.failing_reply_class("greylisted") == "greylisted"
    with pytest.raises(ValueError, match='no reply class "accepted"'):
        values.failing_reply_class("accepted")
