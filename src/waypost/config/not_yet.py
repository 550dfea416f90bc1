"""What the contract names and this version cannot do yet: refused, never ignored.

Owns every such refusal, of keys and of commands. To make one available, delete its line here; the
tables of `waypost.config.tables` know the keys already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from waypost.config.problems import Findings, Path

SMTPS = "TLS to relays is not available in this version; write smtp://"
_TLS = 'TLS to relays is not available in this version; leave the key out, or write "never"'
_AUTH = "logging in to relays is not available in this version; leave the key out"
_HOLD = '"hold" is not available in this version; leave the key out, or write "bounce"'


def _encrypted(value: object) -> bool:
    return value in ("opportunistic", "require", "verify")


def _held(value: object) -> bool:
    return value == "hold"


def _any(_: object) -> bool:
    return True


# Keys ("*" is any name), which of their values are refused, and what is said.
KEYS: tuple[tuple[tuple[str, ...], Callable[[object], bool], str], ...] = (
    (("relays", "*", "tls"), _encrypted, _TLS),
    (("relays", "*", "username"), _any, _AUTH),
    (("relays", "*", "password_file"), _any, _AUTH),
    (("routes", "*", "on_failure"), _held, _HOLD),
    (("defaults", "on_failure"), _held, _HOLD),
)

COMMANDS = frozenset({"activity", "held", "health", "postfix"})


def refuse(document: Mapping[str, object], found: Findings) -> None:
    """Report every key of `document` that is refused."""
    for pattern, refused, text in KEYS:
        for path, value in _matching(pattern, document):
            if refused(value):
                found.error(path, text)


def _matching(
    pattern: tuple[str, ...], value: object, path: Path = ()
) -> Iterator[tuple[Path, object]]:
    if not pattern:
        yield path, value
    elif isinstance(value, Mapping):
        for key in value if pattern[0] == "*" else pattern[:1]:
            if key in value:
                yield from _matching(pattern[1:], value[key], (*path, key))
