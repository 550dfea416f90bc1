"""What a header section tells, and what we put on top of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from waypost.address import Address
from waypost.trace import ascii_form, on_top, read

ME = Address.parse("user1+shop@mydomain.net")
MESSAGE = (
    b"Received: from a.example by b.example;\r\n\tTue, 24 Nov 2026 03:00:00 +0000\r\n"
    b"Received: from c.example by a.example\r\n"
    b"DATE: Tue, 24 Nov 2026 03:00:00 +0000\r\n"
    b"Message-ID: <1@c.example>\r\n"
    b"Delivered-To: Other@MyDomain.net\r\n"
    b"Subject: hello\r\n"
    b"\r\n"
    b"Received: this is the body\r\nDelivered-To: user1+shop@mydomain.net\r\n"
)


def test_the_header_is_read_and_the_body_is_not() -> None:
    trace = read(MESSAGE)
    assert trace.hops == 2
    assert trace.message_id == b"<1@c.example>"
    assert trace.date == b"Tue, 24 Nov 2026 03:00:00 +0000"
    assert trace.entry.startswith(b"from a.example")
    assert trace.entry.endswith(b"+0000")
    assert trace.was_delivered_to(Address.parse("other@mydomain.net"))
    assert not trace.was_delivered_to(ME)


def test_a_message_without_header_has_none_in_its_body() -> None:
    trace = read(b"\r\nReceived: from a\r\nDelivered-To: user1+shop@mydomain.net\r\n\r\n")
    assert trace.hops == 0
    assert not trace.was_delivered_to(ME)


def test_a_field_begins_at_the_start_of_a_line() -> None:
    trace = read(b"Subject Received: from a\r\n Delivered-To: x@y.z\r\nMessage-ID: <1@x>\r\n")
    assert trace.hops == 0
    assert not trace.delivered_to
    assert trace.message_id == b"<1@x>"


def test_a_long_line_is_read_but_once() -> None:
    # For hours otherwise, with the daemon at a standstill: the time grew by the square.
    assert read(b"x" * 10_000_000).hops == 0


def test_of_megabytes_of_header_the_top_is_read() -> None:
    # A stranger can send them, to many recipients: what is read for each must be little.
    more = b"Received: x\r\n" * 1_000_000
    trace = read(MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n" + more + b"X: \xff\r\n\r\nbody")
    assert 50 < trace.hops < 100_000
    assert trace.message_id == b"<1@c.example>"
    assert trace.was_delivered_to(Address.parse("other@mydomain.net"))
    assert trace.eight_bit_header  # as far as is known


def test_what_we_put_on_top_is_recognised_when_it_comes_back() -> None:
    for text in ("user1+shop@mydomain.net", "jörg@mydomain.net", '"a b"@mydomain.net'):
        recipient = Address.parse(text)
        headers = on_top(recipient, "abc", "mx.mydomain.net", 1_800_000_000.0)
        trace = read(headers + MESSAGE)
        assert trace.was_delivered_to(recipient)
        assert trace.hops == 3
        assert not trace.eight_bit_header


def test_our_headers_read_well() -> None:
    assert on_top(ME, "abc", "mx.mydomain.net", 1_800_000_000.0).decode() == (
        "Delivered-To: user1+shop@mydomain.net\r\n"
        "Received: by mx.mydomain.net (Waypost) with LMTP id abc\r\n"
        "\tfor <user1+shop@mydomain.net>; Fri, 15 Jan 2027 08:00:00 +0000\r\n"
    )


def test_beyond_ascii_is_written_in_ascii() -> None:
    assert ascii_form(Address.parse("jörg@mydomain.net")) == "j\\x{F6}rg@mydomain.net"


def test_octets_beyond_ascii_are_seen_where_they_are() -> None:
    assert not read(MESSAGE).eight_bit
    assert read(MESSAGE + "ü".encode()).eight_bit
    assert not read(MESSAGE + "ü".encode()).eight_bit_header
    assert read("Subject: ü\r\n".encode() + MESSAGE).eight_bit_header


def test_the_fingerprint_tells_messages_apart() -> None:
    trace = read(MESSAGE)
    same = trace.fingerprint("a@example", with_entry=False)
    assert same == trace.fingerprint("a@example", with_entry=False)
    assert same != trace.fingerprint("b@example", with_entry=False)
    assert same != trace.fingerprint("a@example", with_entry=True)
    assert same != read(MESSAGE.replace(b"<1@", b"<2@")).fingerprint("a@example", with_entry=False)


@given(st.binary())
def test_any_bytes_can_be_read(content: bytes) -> None:
    trace = read(content)
    assert trace.eight_bit == (not content.isascii())


@given(st.text(alphabet="abc:\r\n \t", max_size=60))
def test_a_message_without_trace_headers_has_no_hops(text: str) -> None:
    assert read(text.encode()).hops == 0


def test_messages_without_any_trace_are_told_apart_by_what_they_say() -> None:
    prints = {read(content).fingerprint("", with_entry=True) for content in (b"a\r\n", b"b\r\n")}
    assert len(prints) == 2
