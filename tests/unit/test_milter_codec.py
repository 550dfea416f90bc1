"""The boundary around the library's codec; most of it is told by the milter's dialogues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dialogues.milter_mta import OFFER, packet
from waypost.milter import codec
from waypost.reply import Reply


class TestPackets:
    @given(st.lists(st.binary(min_size=1, max_size=50)), st.integers(min_value=1, max_value=7))
    def test_come_back_however_they_are_cut(self, payloads: list[bytes], step: int) -> None:
        wire = b"".join(map(codec.packet, payloads))
        buffer, taken = bytearray(), []
        for start in range(0, len(wire), step):
            buffer += wire[start : start + step]
            while (payload := codec.take_packet(buffer)) is not None:
                taken.append(payload)
        assert taken == payloads
        assert not buffer

    @pytest.mark.parametrize("length", [0, codec.MAX_PACKET + 1, 0xFFFFFFFF])
    def test_of_an_impossible_length_are_refused_at_once(self, length: int) -> None:
        with pytest.raises(codec.BadPacket, match=f"{length} octets"):
            codec.take_packet(bytearray(length.to_bytes(4)))

    def test_of_the_greatest_length_are_taken(self) -> None:
        payload = b"x" * codec.MAX_PACKET
        assert codec.take_packet(bytearray(packet(payload))) == payload


class TestNegotiation:
    def test_asks_for_what_is_used_and_no_more(self) -> None:
        answer = codec.negotiate(OFFER[1:])
        assert answer[4:5] == b"O"
        version, actions, steps = (
            int.from_bytes(answer[start : start + 4]) for start in range(5, 17, 4)
        )
        assert version == 6
        assert actions == 0x004 | 0x008 | 0x080 | 0x100  # ADDRCPT DELRCPT ADDRCPT_PAR SETSYMLIST
        without_call = 0x001 | 0x002 | 0x010 | 0x020 | 0x040 | 0x100 | 0x200
        without_reply = 0x080 | 0x1000 | 0x2000 | 0x4000 | 0x10000 | 0x20000 | 0x40000 | 0x80000
        assert steps == without_call | without_reply
        assert steps & (0x004 | 0x008) == 0  # MAIL and RCPT are called
        assert steps & 0x8000 == 0  # and RCPT is answered

    @pytest.mark.parametrize(
        "offer",
        [
            pytest.param("00000002 000001ff 001fffff", id="version"),
            pytest.param("00000006 0000017f 001fffff", id="no ADDRCPT_PAR"),
            pytest.param("00000006 000001ff 001fbfff", id="MAIL without reply not offered"),
        ],
    )
    def test_that_offers_too_little_names_the_remedy(self, offer: str) -> None:
        with pytest.raises(codec.BadPacket, match="leave milter_protocol at 6"):
            codec.negotiate(bytes.fromhex(offer))

    @pytest.mark.parametrize("data", [b"", OFFER[1:-1], OFFER[1:] + b"x"])
    def test_of_a_wrong_length_is_refused(self, data: bytes) -> None:
        with pytest.raises(codec.BadPacket, match="wrong length"):
            codec.negotiate(data)


class TestRefusals:
    def test_carry_code_status_and_text(self) -> None:
        assert codec.refuse(Reply.own("451 4.3.0 later")) == packet(b"y451 4.3.0 later\0")

    def test_have_a_status_always(self) -> None:
        # Postfix wants one (milter8.c).
        assert codec.refuse(Reply(550, None, "no")) == packet(b"y550 5.0.0 no\0")

    def test_double_the_percent_sign_that_postfix_halves(self) -> None:
        reply = Reply.own("550 5.1.1 100% sure %s")
        assert codec.refuse(reply) == packet(b"y550 5.1.1 100%% sure %%s\0")

    @pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\0b", "Grüße"])
    def test_are_one_line_of_ascii(self, text: str) -> None:
        with pytest.raises(ValueError, match="not one line of ASCII"):
            codec.refuse(Reply(550, None, text))

    def test_refuse(self) -> None:
        with pytest.raises(ValueError, match="refuses nothing"):
            codec.refuse(Reply.own("250 2.0.0 fine"))


class TestRcpt:
    def test_keeps_every_octet(self) -> None:
        command = codec.read_rcpt(b"<j\xfcrgen@a.example>\0NOTIFY=NEVER\0ORCPT=rfc822;\xfc=x\0")
        assert command.address == b"<j\xfcrgen@a.example>"
        assert command.notify == b"NEVER"
        assert command.orcpt == b"rfc822;\xfc=x"

    def test_shows_text_that_can_be_encoded(self) -> None:
        command = codec.read_rcpt(b"<j\xfcrgen@a.example>\0")
        assert command.text == "j\udcfcrgen@a.example"
        assert command.shown == "j\\xfcrgen@a.example"

    def test_without_its_end_is_refused(self) -> None:
        with pytest.raises(codec.BadPacket, match="does not end with NUL"):
            codec.read_rcpt(b"<a@b.example>")


class TestQueueId:
    def test_is_read_among_other_macros(self) -> None:
        assert codec.read_queue_id(b"Ej\0mx.example\0i\x004bX9\0v\0\xff\0") == "4bX9"

    @pytest.mark.parametrize("data", [b"R{rcpt_addr}\0\xff\0i\0early\0", b"E", b"H", b""])
    def test_is_only_taken_at_the_end(self, data: bytes) -> None:
        assert codec.read_queue_id(data) is None


@pytest.mark.parametrize(
    ("recipient", "orcpt"),
    [
        (b"<a+b=c@d>", b"rfc822;a+2Bb+3Dc@d"),
        (b"a@d", b"rfc822;a@d"),
        (b'<"a b"@d>', b'rfc822;"a+20b"@d'),
        ("<ä+b@d>".encode(), "utf-8;ä+2Bb@d".encode()),
        (b"<a\x7f@d>", b"rfc822;a+7F@d"),
    ],
)
def test_the_orcpt_is_the_recipient_as_written(recipient: bytes, orcpt: bytes) -> None:
    added = codec.add_recipient("r@waypost.invalid", codec.RcptCommand(recipient))
    assert added == packet(b"2<r@waypost.invalid>\0ORCPT=" + orcpt + b"\0")


@given(st.binary(min_size=1).filter(lambda octets: b"\0" not in octets))
def test_a_recipient_is_deleted_by_the_octets_it_came_with(address: bytes) -> None:
    command = codec.read_rcpt(address + b"\0")
    assert codec.delete_recipient(command.address) == packet(b"-" + address + b"\0")
