"""One pattern, read piece by piece: what it says besides what RE2 makes of it.

Owns the pieces of RE2's syntax (https://github.com/google/re2/wiki/Syntax) as far as advice needs
them, and the question which pieces stand in the domain. Used by `advice` on patterns that RE2 has
taken: what it refuses need not make sense here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import re2
from waypost_regex.sets import options

_TOKEN = re.compile(
    r"""
      (?P<quote>   \\Q .*? (?: \\E | \Z ) )
    | (?P<escape>  \\ (?: [pP] (?: \{ [^}]* \} | . ) | x (?: \{ [^}]* \} | .. ) | [A-Za-z] | \d+ ) )
    | (?P<class>   \[ \^? \]? (?: \[:\^?\w+:\] | \\. | [^\]\\] )* \] )
    | (?P<flags>   \(\? [A-Za-z-]+ \) )
    | (?P<open>    \( (?: \? (?: P?<\w+> | [A-Za-z-]* : ) )? )
    | (?P<close>   \) )
    | (?P<bar>     \| )
    | (?P<repeat>  (?: [*+?] | \{ \d+ (?: , \d* )? \} ) \?? )
    | (?P<any>     \. )
    | (?P<anchor>  [\^$] )
    | (?P<literal> \\? . )
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """A piece of a pattern."""

    kind: str
    """A group of the grammar above; `quote` comes as literals."""
    text: str
    """As it is written."""
    literal: str
    """The character that it stands for; empty when it is no literal."""
    in_domain: bool
    """Whether it stands behind an `@`."""

    @property
    def group_name(self) -> str:
        """The name of the group that it opens; empty when there is none."""
        return self.text.partition("<")[2].rstrip(">") if self.kind == "open" else ""

    @property
    def matches_at(self) -> bool:
        """Whether it can match the `@` of an address."""
        if self.kind in ("escape", "class"):
            return _matches_at(self.text)
        return self.kind == "any" or self.literal == "@"


@cache
def _matches_at(piece: str) -> bool:
    return re2.compile(piece, options()).fullmatch("@") is not None


def tokens(pattern: str) -> list[Token]:
    """The pieces of `pattern`, which RE2 has taken; joined, they mean what it means."""
    found = []
    in_domain = False
    at_open: list[bool] = []
    for kind, text in _pieces(pattern):
        if kind == "open":
            at_open.append(in_domain)
        elif kind == "close":
            at_open.pop()
        elif kind == "bar":
            in_domain = at_open[-1] if at_open else False
        literal = text[-1] if kind == "literal" else ""
        found.append(Token(kind, text, literal, in_domain))
        in_domain = in_domain or literal == "@"
    return found


def _pieces(pattern: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(pattern):
        kind, text = str(match.lastgroup), match[0]
        if kind == "quote":
            yield from (("literal", re.escape(char)) for char in text[2:].removesuffix(r"\E"))
        else:
            yield kind, text


def branches(pieces: Sequence[Token]) -> list[list[Token]]:
    """The alternatives that the whole pattern consists of: one, if no `|` stands outside groups."""
    found: list[list[Token]] = [[]]
    depth = 0
    for token in pieces:
        depth += (token.kind == "open") - (token.kind == "close")
        if token.kind == "bar" and depth == 0:
            found.append([])
        else:
            found[-1].append(token)
    return found


def domain_of(branch: Sequence[Token]) -> str | None:
    """The domain that every address matched by `branch` has; None when that is not plain to see."""
    behind = [
        token
        for token in branch
        if token.in_domain and not (token.kind == "anchor" or token.text == r"\z")
    ]
    text = "".join(token.literal for token in behind)
    if "@" in text or not text or not all(token.literal for token in behind):
        return None
    return text


def folded(pieces: Sequence[Token]) -> str:
    """A form that patterns share which differ in the case of their letters only."""
    return "".join(
        token.text.lower() if token.kind == "literal" else token.text for token in pieces
    )
