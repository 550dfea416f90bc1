"""What the contract names and this version cannot do yet: refused, never ignored.

Owns every such refusal, of keys and of commands. To make one available, delete its line here; the
tables of `waypost.config.tables` know the keys already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from waypost.config.problems import Findings, Path

_HOLD = '"hold" is not available in this version; leave the key out, or write "bounce"'


def _held(value: object) -> bool:
    return value == "hold"


# Keys ("*" is any name), which of their values are refused, and what is said.
KEYS: tuple[tuple[tuple[str, ...], Callable[[object], bool], str], ...] = (
    (("routes", "*", "on_failure"), _held, _HOLD),
    (("defaults", "on_failure"), _held, _HOLD),
)

COMMANDS = frozenset({"activity", "held", "postfix"})


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
