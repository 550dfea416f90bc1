"""Mail addresses: what an envelope holds, what rules compare, and the route address.

Owns the reading and writing of addresses (RFC 5321 section 4.1.2, RFC 6531), their canonical form,
the tag of a recipient, and the route address that carries a recipient through the Postfix queue.
Pure: no I/O, no clock; the key and the ids are given.

Promises: `Address.parse(str(a)) == a` for every address; what `Address.parse` returns can be
written into a command line without breaking it (no control characters); a route address gives back
exactly the recipient it was made from.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import idna

MAX_LOCAL_OCTETS = 64
"""RFC 5321 section 4.5.3.1.1."""
MAX_DOMAIN_OCTETS = 253
"""The longest name DNS can carry; RFC 5321 section 4.5.3.1.2 allows 255."""
MAX_CHARACTERS = 4096
"""Of an address: more than a command line carries (postconf(5), line_length_limit, is 2048). The
normal form of combining marks takes a time that grows by the square of their number.
"""

# atext of RFC 5322 section 3.2.3, with UTF-8 beyond ASCII (RFC 6531 section 3.3).
_ATOM = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\U0010ffff]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*\Z")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"@(.*)\Z', re.DOTALL)
# smtpd takes unquoted local parts that no grammar allows, such as "a..b" and "a:b"; we read them as
# the same local part and write them quoted (postconf(5), strict_rfc821_envelopes). Of white space
# only ASCII's ends a word: U+00A0 or U+2028 are atext for RFC 6531, and _DOT_STRING has them.
_UNQUOTED = re.compile(r'[^"\\<>()\s@]+\Z', re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# The underscore is no hostname character, yet DNS and Postfix (valid_hostname.c) let it through.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_LITERAL = re.compile(r"\[[a-z0-9.:\-]{3,100}\]\Z")


class NotAnAddress(ValueError):
    """The text is no mail address; the message says what is wrong with it."""


def canonical_domain(text: str) -> str:
    """The form in which domains are compared and asked for in DNS: lower-case A-labels.

    An address literal such as `[192.0.2.1]` keeps its brackets. A final dot is dropped: Postfix
    takes `user@example.org.` for `user@example.org`. Raises NotAnAddress.
    """
    _refuse_undecodable(text)
    lowered = text.lower()
    if _LITERAL.match(lowered):
        return lowered
    if not lowered.isascii():
        try:
            lowered = idna.encode(lowered, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise NotAnAddress(f'"{text}" is no domain name: {error}') from None
    lowered = lowered.removesuffix(".")
    if len(lowered) > MAX_DOMAIN_OCTETS:
        raise NotAnAddress(f"a domain name has at most {MAX_DOMAIN_OCTETS} characters")
    if not all(_LABEL.match(label) for label in lowered.split(".")):
        raise NotAnAddress(f'"{text}" is no domain name')
    return lowered


def domain_behind(text: str) -> str:
    """The canonical domain behind the last "@" of what is no address; empty when that is none.

    It is all that can be told of it.
    """
    _, at, domain = text.rpartition("@")
    try:
        return canonical_domain(domain) if at else ""
    except NotAnAddress:
        return ""


def and_parents(domain: str) -> Iterator[str]:
    """`domain`, then each domain it is a subdomain of, the longest first."""
    while domain:
        yield domain
        domain = domain.partition(".")[2]


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox address. Two addresses are equal when they are written alike; compare `key` to ask
    whether they mean the same mailbox.
    """

    local: str
    """The local part as it is meant: unquoted, its case kept."""
    domain: str
    """Canonical: lower-case A-labels, or an address literal."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `local@domain`, with or without angle brackets. Raises NotAnAddress."""
        if len(text) > MAX_CHARACTERS:
            raise NotAnAddress(f"an address has at most {MAX_CHARACTERS} characters")
        inner = text[1:-1] if text.startswith("<") and text.endswith(">") else text
        inner = inner.strip(" ")  # smtpd takes `RCPT TO:< user@example.org >`
        _refuse_undecodable(inner)
        quoted = _QUOTED.match(inner)
        if quoted:
            local, domain = re.sub(r"\\(.)", r"\1", quoted[1]), quoted[2]
        else:
            local, at, domain = inner.rpartition("@")
            if not at:
                raise NotAnAddress(f'"{inner}" has no "@"')
            if not _UNQUOTED.match(local):
                raise NotAnAddress(f'"{inner}" has no local part that an address could have')
        if _CONTROL.search(local):
            raise NotAnAddress("an address has no control characters")
        if not local:
            raise NotAnAddress(f'"{inner}" has an empty local part')
        return cls(local, canonical_domain(domain))

    def __str__(self) -> str:
        if _DOT_STRING.match(self.local):
            return f"{self.local}@{self.domain}"
        escaped = re.sub(r'(["\\])', r"\\\1", self.local)
        return f'"{escaped}"@{self.domain}'

    @property
    def key(self) -> str:
        """What mailboxes are compared by: local part in lower case and NFC, canonical domain.

        Local parts may differ by case (RFC 5321 section 2.4), but no receiver worth naming does so,
        and people type what they like.
        """
        return str(Address(unicodedata.normalize("NFC", self.local.lower()), self.domain))

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only a next hop that offers SMTPUTF8 (RFC 6531) can be given this address."""
        return not self.local.isascii()

    @property
    def octets_of_local(self) -> int:
        """Length of the local part as it is written, in octets."""
        return len(str(self).encode()) - len(self.domain) - 1


def _refuse_undecodable(text: str) -> None:
    # Bytes that are not UTF-8 arrive as lone surrogates (PEP 383).
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotAnAddress("an address beyond ASCII is written in UTF-8") from None


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient in one of our domains, as rules see it."""

    address: Address
    domain: str
    """The configured domain it falls under: the longest of `domains` that is its suffix."""
    delimiter: str = "+"
    """The characters that may start a tag (`delimiter`); empty: no tags."""

    @property
    def key(self) -> str:
        """The canonical address; names the recipient in the journal."""
        return self.address.key

    @property
    def base(self) -> str:
        """The local part before the tag; all of it when there is none."""
        return self._split()[0]

    @property
    def tag(self) -> str:
        """The local part after its first delimiter; empty when there is none."""
        return self._split()[1]

    @property
    def subdomain(self) -> str:
        """The labels before the configured domain; empty when there are none."""
        return labels_before(self.address.domain, self.domain)

    def _split(self) -> tuple[str, str]:
        local = self.address.local
        cut = next((i for i, char in enumerate(local) if char in self.delimiter), -1)
        # "+x" and "x+" have no tag: it wants something on both sides of the delimiter.
        return (local[:cut], local[cut + 1 :]) if 0 < cut < len(local) - 1 else (local, "")


def labels_before(domain: str, parent: str) -> str:
    """The labels of `domain` in front of `parent`; empty when it is `parent` itself."""
    return domain[: -len(parent)].rstrip(".")


ID_LENGTH = 16
_ROUTE_LOCAL = re.compile(
    rf"(?P<id>[a-z2-7]{{{ID_LENGTH}}})-(?P<mac>[a-z2-7]{{16}})\.(?P<local>.+)=(?P<domain>[^=]+)\Z",
    re.IGNORECASE | re.DOTALL | re.ASCII,  # else U+017F is an "s" and U+212A a "k"
)


def make_id(random_bytes: Callable[[int], bytes]) -> str:
    """A new message id: 80 random bits that survive a change of case. `random_bytes(n)` gives n."""
    return _base32(random_bytes(10))


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


@dataclass(frozen=True, slots=True)
class RouteAddress:
    """A route address that has been read: whose message, for whom, and whether we made it."""

    id: str
    recipient: Address
    genuine: bool
    """Whether its MAC is good. If not, `id` proves nothing."""


@dataclass(frozen=True, slots=True)
class RouteAddresses:
    """Makes and reads route addresses, `<id>-<mac>.<local part>=<domain>@<route domain>`."""

    domain: str
    key: bytes

    def make(self, message_id: str, recipient: Address) -> Address:
        """The route address of `recipient` in the message `message_id`.

        It is read back before it is returned: an address that Postfix could not hand back to us
        would lose the message. Raises NotAnAddress when it does not come back the same.
        """
        mac = self._mac(message_id, recipient)
        made = Address(f"{message_id}-{mac}.{recipient.local}={recipient.domain}", self.domain)
        if self.read(Address.parse(str(made))) != RouteAddress(message_id, recipient, True):
            raise NotAnAddress(f'"{recipient}" does not survive in a route address')
        return made

    def read(self, address: Address) -> RouteAddress | None:
        """What a route address says; None when `address` is none."""
        match = _ROUTE_LOCAL.match(address.local) if address.domain == self.domain else None
        if not match:
            return None
        try:
            recipient = Address(match["local"], canonical_domain(match["domain"]))
        except NotAnAddress:
            return None
        message_id = match["id"].lower()
        genuine = hmac.compare_digest(match["mac"].lower(), self._mac(message_id, recipient))
        return RouteAddress(message_id, recipient, genuine)

    def _mac(self, message_id: str, recipient: Address) -> str:
        # Over the canonical recipient: a case that changes on the way does no harm.
        text = f"{message_id}\0{recipient.key}".encode()
        return _base32(hmac.digest(self.key, text, hashlib.sha256)[:10])
