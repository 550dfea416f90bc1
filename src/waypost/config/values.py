"""How single values are written: sockets, durations, next hops, names.

Owns `Listen` and the functions that read one string of the configuration each. Pure.

Promises: every function raises ValueError with a text for the operator, and nothing else.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from waypost.address import NotAnAddress, canonical_domain
from waypost.config.problems import did_you_mean, show
from waypost.reply import ReplyClass
from waypost.route import NextHop, Tls, TlsPolicy

SMTP_PORT = 25
SMTPS_PORT = 465
"""Of submission in TLS from the start (RFC 8314 section 3.3)."""
# struct sockaddr_un, unix(7): 108 bytes with the closing NUL.
_SOCKET_PATH_BYTES = 107
_HOST_AND_PORT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:/@]+))(?::(?P<port>\d{1,9}))?\Z"
)
_URL = re.compile(r"(?P<scheme>[a-z0-9+.-]+)://(?P<rest>[^/]*)/?\Z")
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?\Z", re.ASCII)
_LONGEST = 366 * 86400
_UNITS = (86400, 3600, 60, 1)
FAILING_REPLY_CLASSES = tuple(each.value for each in ReplyClass if each is not ReplyClass.ACCEPTED)
"""The reply classes that a leg can wait for."""
NAME = r"[a-z0-9-]{1,63}"
_NAME = re.compile(rf"{NAME}\Z")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where we listen: `unix:/path` or `inet:host:port`. Either `path` is set, or both others."""

    path: str | None = None
    host: str | None = None
    """A name or an address; of IPv6 without brackets."""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Read it as the configuration writes it. Raises ValueError."""
        kind, _, rest = text.partition(":")
        if kind == "unix":
            return cls(path=_socket_path(rest))
        if kind == "inet":
            host, port = _host_and_port(rest)
            if port is not None:
                return cls(host=host, port=port)
        raise ValueError(
            f'{show(text)}: a socket is written "unix:/path" or "inet:host:port"'
            f"{did_you_mean(kind, ('unix', 'inet'))}"
        )

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in (self.host or "") else self.host
        return f"inet:{host}:{self.port}"


def _socket_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"the path of a socket starts with a slash, {show(path)} does not")
    if len(path.encode()) > _SOCKET_PATH_BYTES:
        raise ValueError(f"the path of a socket has at most {_SOCKET_PATH_BYTES} bytes")
    return path


def _host_and_port(text: str) -> tuple[str, int | None]:
    match = _HOST_AND_PORT.match(text)
    if not match:
        raise ValueError(
            f'{show(text)} is not "host" or "host:port" (IPv6 in brackets: "[::1]:25")'
        )
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"a port is a number from 1 to 65535, {port} is not")
    if match["name"] == "*":
        raise ValueError('"*" is no address; any address is "0.0.0.0", or "[::]"')
    if match["v6"]:
        return str(ipaddress.IPv6Address(match["v6"])), port
    return canonical_domain(match["name"]), port


def domain(text: str) -> str:
    """Read a domain, or an address literal; canonical. Raises ValueError."""
    try:
        canonical = canonical_domain(text)
    except NotAnAddress as error:
        raise ValueError(f"{error}{_domain_hint(text)}") from None
    check_no_ip_address(canonical)
    return canonical


def check_no_ip_address(domain: str) -> None:
    """Raises ValueError for an IP address without the brackets of a literal (RFC 5321 section
    4.1.3): no domain has such a name, since no top-level domain is a number.
    """
    if domain.rpartition(".")[2].isdecimal():
        raise ValueError(f'"{domain}" is an IP address; in place of a domain it is "[{domain}]"')


def _domain_hint(text: str) -> str:
    if re.search(r"\.\S*[,;\s]\s*\S+\.", text):
        return "; each domain has quotes of its own"
    return '; write what stands behind the "@"' if "@" in text else ""


def next_hop(text: str) -> NextHop:
    """Read `smtp://host:port` or, with TLS from the start, `smtps://host:port`; the port is 25 or
    465 when it is left out. Raises ValueError.
    """
    match = _URL.match(text)
    scheme = match["scheme"] if match else ""
    if not match or scheme not in ("smtp", "smtps"):
        raise ValueError(f'{show(text)}: a next hop is written "smtp://host:port"')
    host, port = _host_and_port(match["rest"])
    if scheme == "smtps":
        return NextHop(host, port or SMTPS_PORT, tls=Tls(TlsPolicy.REQUIRE, from_the_start=True))
    return NextHop(host, port or SMTP_PORT)


def duration(value: object) -> float:
    """Read `"15m"`, `"1h30m"` or a whole number of seconds; in seconds. Raises ValueError."""
    match = _DURATION.match(value) if isinstance(value, str) and value else None
    if match:
        counts = [int(count or 0) for count in match.groups()]
        seconds = sum(count * unit for count, unit in zip(counts, _UNITS, strict=True))
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        seconds = value
    else:
        raise ValueError(
            f'{show(value)} is no duration; write "90s", "15m" or "1h30m", or a number of seconds'
        )
    if seconds > _LONGEST:
        raise ValueError(f"{show(value)} is longer than a year")
    return float(seconds)


def duration_text(seconds: float) -> str:
    """`seconds` (whole ones) as `duration` reads them: `"1h30m"`."""
    text = ""
    left = int(seconds)
    for unit, letter in zip(_UNITS, "dhms", strict=True):
        count, left = divmod(left, unit)
        text += f"{count}{letter}" if count else ""
    return text or "0s"


def deadline(value: object) -> float:
    """Read a duration that ends before Postfix gives up on us (`waypost_time_limit`, 3600 s)."""
    seconds = duration(value)
    if not 0 < seconds < 3600:
        raise ValueError(
            'the deadline must be below one hour, when Postfix gives up on us; "30m" is usual'
        )
    return seconds


def absolute_path(text: str) -> Path:
    """Read an absolute path. Raises ValueError."""
    if not text.startswith("/"):
        raise ValueError(f"an absolute path is wanted here, {show(text)} is none")
    return Path(text)


def username(text: str) -> str:
    """Read the name to log in by. Raises ValueError."""
    if not text or not text.isprintable():
        raise ValueError(f"{show(text)} is no user name")
    return text


def delimiter(text: str) -> str:
    """Read the characters that may start a tag; none: no tags. Raises ValueError."""
    bad = [char for char in text if char.isalnum() or char.isspace() or not char.isprintable()]
    bad += [char for char in text if char in '@"']
    if bad:
        raise ValueError(f"{show(bad[0])} cannot start a tag; usual are + and -")
    return text


def ip_address(text: str) -> str:
    """Read an IPv4 or IPv6 address. Raises ValueError."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"an IP address is wanted here, {show(text)} is none") from None


def name(text: str) -> str:
    """Read the name of a route or a relay. Raises ValueError."""
    if not _NAME.match(text):
        raise ValueError(
            f"{show(text)} is no name: 1 to 63 of a-z, 0-9 and - (no dots, no capitals)"
        )
    return text


def failing_reply_class(text: str) -> str:
    """Read a reply class that a leg can wait for. Raises ValueError."""
    if text not in FAILING_REPLY_CLASSES:
        there_are = f"; there are {', '.join(FAILING_REPLY_CLASSES)}"
        suggestion = did_you_mean(text, FAILING_REPLY_CLASSES) or there_are
        raise ValueError(f'no reply class "{text}"{suggestion}')
    return text
