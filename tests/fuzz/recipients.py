"""Recipients without end, legal and not, as they may stand between the angle brackets of RCPT.

    for octets in recipients(seed): ...

The same for the same seed. No NUL: neither a milter packet nor a command line can carry one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.fuzz.world import MESSAGE_ID, ROUTE_ADDRESSES, ROUTE_DOMAIN
from waypost.address import Address, NotAnAddress

_KNOWN = (
    "user1", "USER1", "user 1", "family", "tags", "list", "jörg", "JÖRG", "jo\u0308rg", "u2",
    "user2", "shop-x", "shop-", "12345", "nobody",
)  # fmt: skip
_OURS = (
    "mydomain.net", "MyDomain.NET", "mydomain.net.", "user1.mydomain.net", "a.user1.mydomain.net",
    "other.mydomain.net", "seconddomain.de", "sub.seconddomain.de", "bücher.example",
    "BÜCHER.example", "xn--bcher-kva.example", "mydomain。net",
)  # fmt: skip
_OTHERS = (
    "kept.example", "sub.kept.example", "imx.mydomain.net", "sub.imx.mydomain.net", "gmail.com",
    "elsewhere.example", "notmydomain.net", "straße.de", "例え.テスト", "[192.0.2.1]",
    "[IPv6:2001:db8::1]", "net", ROUTE_DOMAIN,
)  # fmt: skip
_NO_DOMAINS = (
    "", ".", "..", "-a.de", "a..b", "a b.de", "mydomain.net..", ".mydomain.net", "[", "[]", "[x",
    "xn--", "xn--a", "\u00ad", "\u200d.de", "a_b.mydomain.net", "mydomain.net:25",
    "mydomain.net\t", "MYDOMAIN.NET\u0301",
)  # fmt: skip
_TEXT = "abcdefghijklmnopqrstuvwxyz0123456789"
_ODD = (
    "!#$%&'*+-/=?^_`{|}~.,:;@<>()[]\\\" "
    "\u00a0\u2028\u212a\u017f\u0130\u00df\u0301\ufb01\u00fc\u4f8b"
)
_CONTROLS = "\x01\x07\t\n\r\x1b\x7f\x80\x85\x9f"
_LONGEST = 2000


class _Chance(random.Random):
    """The choices that recipients are made of."""

    def text(self, alphabet: str, most: int) -> str:
        return "".join(self.choices(alphabet, k=self.randint(0, most)))

    def local(self) -> str:
        kind = self.randrange(20)
        known = self.choice(_KNOWN)
        if kind < 4:
            return known
        if kind < 8:
            return known + self.choice("++-") + self.text(_TEXT + _ODD[:16], 10)
        if kind < 12:
            return ".".join(self.text(_TEXT, 8) for _ in range(self.randint(1, 4)))
        if kind < 14:
            return self.text(_TEXT + _ODD, 15)
        if kind < 16:
            return '"' + self.text(_TEXT + _ODD, 12).replace('"', '\\"') + '"'
        if kind < 18:
            # What old mailers used to route by: percent, bangs and source routes.
            other = self.choice(_OURS + _OTHERS)
            return self.choice((f"{known}%{other}", f"{other}!{known}", f"@{other},@x.de:{known}"))
        if kind < 19:
            return known + self.text(_CONTROLS + _ODD, 5)
        return self._rare()

    def _rare(self) -> str:
        if self.random() < 0.2:
            return self.text(self.choice((_TEXT, _TEXT + ".", "ü" + _TEXT, '"' + _TEXT)), _LONGEST)
        return "".join(chr(self.randint(1, 0xD7FF)) for _ in range(self.randint(0, 10)))

    def domain(self) -> str:
        kind = self.random()
        if kind < 0.6:
            return self.choice(_OURS)
        if kind < 0.85:
            return self.choice(_OTHERS)
        if kind < 0.95:
            return self.choice(_NO_DOMAINS)
        label = self.text(_TEXT + _ODD, 70)
        return f"{label}.{self.choice(_OURS)}"

    def recipient(self) -> str:
        local, domain = self.local(), self.domain()
        kind = self.random()
        if kind < 0.8:
            return f"{local}@{domain}"
        if kind < 0.95:
            return self._route_address(f"{local}@{domain}")
        return self.choice(
            (local, domain, f"<{local}@{domain}>", f" {local}@{domain} ", f"{local}@@{domain}")
        )

    def _route_address(self, text: str) -> str:
        try:
            made = str(ROUTE_ADDRESSES.make(MESSAGE_ID, Address.parse(text)))
        except NotAnAddress:
            return f"{MESSAGE_ID}-{MESSAGE_ID}.{text.replace('@', '=')}@{ROUTE_DOMAIN}"
        return self.choice((str, str.upper, self._forged))(made)

    def _forged(self, made: str) -> str:
        place = self.randrange(len(made))
        return made[:place] + self.choice(_TEXT + '=.@"') + made[place + 1 :]

    def octets(self) -> bytes:
        octets = self.recipient().encode().replace(b"\0", b"")
        if self.random() < 0.03:
            place = self.randint(0, len(octets))
            octets = (
                octets[:place] + self.choice((b"\xff", b"\xc3", b"\xed\xa0\x80")) + octets[place:]
            )
        return octets


def recipients(seed: int) -> Iterator[bytes]:
    """See above."""
    chance = _Chance(seed)
    while True:
        yield chance.octets()
