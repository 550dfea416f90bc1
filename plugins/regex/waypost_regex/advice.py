"""What a person should hear about a pattern.

Owns the words: why RE2 refuses a pattern, what can never match, and what works but was surely meant
otherwise. Promises: each text names the piece and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import re2
from waypost.address import NotAnAddress, canonical_domain
from waypost_regex.patterns import Token, branches, domain_of

_NO_LOOKING_AROUND = (
    "it has no look-ahead and look-behind, because they cannot be had in linear time, and the "
    "pattern meets what strangers type; instead match the exceptions by rules that are asked "
    "earlier (`exact`, or a regex further up)"
)
_NO_BACK_REFERENCES = (
    "it has no back-references, because they cannot be had in linear time, and the pattern meets "
    "what strangers type; instead write out what may be repeated"
)
_NO_POSSESSIVE = (
    "it never backtracks, so nothing has to be made possessive or atomic; instead write the plain "
    r"quantifier, or `\+` for a plus sign"
)
_REPEATS = (
    "it repeats at most 1000 times, nested repeats multiplied, and the smaller number comes first; "
    "instead write `*`: a local part has at most 64 octets anyway"
)

# RE2's complaint (its kind, a colon, the piece), and what to say about it; the first one counts.
_REFUSED: Sequence[tuple[str, str]] = (
    (r"operator: \(\?<?[=!]", _NO_LOOKING_AROUND),
    (r"operator: \(\?>", _NO_POSSESSIVE),
    (r"operator: \(\?P$|sequence: \\[1-9gk]", _NO_BACK_REFERENCES),
    (r"operator: \(\?\(", "it has no conditions; instead write the alternatives out with `|`"),
    (r"operator: \(\?[R&\d]", "it has no recursion; instead write the group out"),
    (r"operator: \(\?[#x]", "it knows no comments in patterns; instead use TOML's, with `#`"),
    (r"operator: \(\?", "it knows the flags `i`, `m`, `s`, `U` and named groups `(?P<name>...)`"),
    (r"bad repetition operator: \*\*", "one `*` already repeats without limit; write a single one"),
    (r"bad repetition operator: .*\+$", _NO_POSSESSIVE),
    (r"bad repetition operator: ", "only one quantifier may follow a piece; write one of them"),
    (r"repetition size", _REPEATS),
    (
        r"no argument for repetition",
        r"there is nothing before it to repeat; any text is `.*`, and a plus sign is `\+`",
    ),
    (
        r"sequence: \\[Zz]",
        r"it has no `\Z`; instead leave it out: a pattern always matches the whole address",
    ),
    (r"sequence: \\", "it does not know this escape; only a punctuation mark needs a backslash"),
    (r"missing \]", r"a `[` is never closed; a literal bracket is `\[`"),
    (r"missing \)", r"a `(` is never closed; a literal parenthesis is `\(`"),
    (r"unexpected \)", r"a `)` closes nothing; a literal parenthesis is `\)`"),
    (r"class range", r"no such range or class of characters; a literal hyphen in `[...]` is `\-`"),
    (r"named capture group", "the name of a group consists of letters, digits and underscores"),
    (r"trailing \\", r"a backslash stands before what it escapes; a literal one is `\\`"),
    (r"too large", "it does not fit into memory; shorten it, or make its repeats smaller"),
)


def refused(error: re2.error) -> str:
    """Why RE2 does not take a pattern, and what to write instead."""
    complaint = error.args[0].decode(errors="replace")
    for known, advice in _REFUSED:
        if re.search(known, complaint):
            return f"RE2 refuses this pattern ({complaint}): {advice}"
    return f"RE2 refuses this pattern: {complaint}"


def errors(pieces: Sequence[Token], is_ours: Callable[[str], bool]) -> Iterator[str]:
    """Why a pattern that RE2 takes can never match, or not as it says."""
    if len(pieces) > 1 and pieces[0].text == "/" and pieces[-1].text == "/":
        yield "a pattern is written without slashes around it"
        return
    if not any(token.matches_at for token in pieces):
        yield (
            'a pattern is matched against the whole address, and this one has no room for the "@"; '
            r"end it with the domain, such as '@mydomain\.net'"
        )
    yield from _foreign_domains(pieces, is_ours)
    yield from _domains_beyond_ascii(pieces)
    for token in pieces:
        if token.text == r"\C":
            yield r"`\C` matches a part of a character; write `.` for any character"
        if token.kind in ("flags", "open") and _CASE_MATTERS.match(token.text):
            yield f"`{token.text}`: addresses are compared without regard to case; leave `-i` out"
    names = [token.group_name for token in pieces if token.kind == "open" and token.group_name]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f'the group name "{name}" is used twice, and RE2 fills only one; rename the other'


_CASE_MATTERS = re.compile(r"\(\?[A-Za-z]*-[A-Za-z]*i")


def _foreign_domains(pieces: Sequence[Token], is_ours: Callable[[str], bool]) -> Iterator[str]:
    domains = [domain_of(branch) for branch in branches(pieces)]
    known = [domain for domain in domains if domain is not None and domain.isascii()]
    if len(known) == len(domains) and not any(_is_ours(domain, is_ours) for domain in known):
        yield (
            f'"{known[0]}" is not in `domains`, so this can never match; '
            "add it there (or take it out of `not_ours`), or correct the pattern"
        )


def _is_ours(domain: str, is_ours: Callable[[str], bool]) -> bool:
    try:
        return is_ours(canonical_domain(domain))
    except NotAnAddress:
        return False


def _domains_beyond_ascii(pieces: Sequence[Token]) -> Iterator[str]:
    text = "".join(token.literal for token in pieces if token.in_domain)
    if not text.isascii():
        yield (
            f'"{"".join(char for char in text if not char.isascii())}" stands in the domain, and '
            "domains are compared in their ASCII form (A-labels); write that, such as "
            "'xn--mnchen-3ya' for \"münchen\""
        )


def warnings(pieces: Sequence[Token]) -> Iterator[str]:
    """What works, though surely not as it was meant."""
    better = [token.text for token in pieces]
    found = []
    for index, (token, following) in enumerate(pairwise([*pieces, _END])):
        repeat = following.text if following.kind == "repeat" else ""
        if token.kind == "any" and token.in_domain and not repeat:
            better[index] = r"\."
            found.append('"." stands for any character, also in the domain')
        elif token.literal.isalnum() and not token.in_domain and repeat.startswith(("+", "*")):
            found.append(_repeated_literal(token.text, repeat[0]))
            better[index + 1] = r"\+" if repeat[0] == "+" else ".*"
    for text in dict.fromkeys(found):
        yield f"{text}; perhaps you meant '{''.join(better)}'"


_END = Token("end", "", "", in_domain=False)


def _repeated_literal(literal: str, repeat: str) -> str:
    if repeat == "+":
        return rf'"{literal}+" stands for one or more "{literal}"; a plus sign is "\+"'
    return f'"{literal}*" stands for any number of "{literal}"; any text is ".*"'
