"""The matcher `regex`: regular expressions, in linear time (RE2).

Owns what a pattern is compared with, and the fields: a pattern's named groups. `sets` asks many
patterns at once, `patterns` and `advice` tell what is wrong with one. Used through the hook
`matchers`. Promises: hits in the order of the file; the same hits for every way to write a mailbox
(case, quotes, Unicode normalisation, A-label or U-label).

A pattern meets `local part@domain`, all of it. The local part is what `{local}` is, without quotes
or backslashes of the envelope (RFC 5321 section 4.1.2: `"user1"@` and `user1@` are one mailbox), so
a local part may itself hold an "@": the domain is what stands behind the last one. The domain is
canonical, A-labels in lower case. Whether a pattern matches is decided in lower case and NFC; what
its groups hold is as the sender typed it, since the letters of a token may be told apart by others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

import re2
from waypost.address import Address, Recipient
from waypost.hookspecs import Compiled, Hit, Matcher, Report, hookimpl
from waypost_regex import advice
from waypost_regex.patterns import Token, folded, tokens
from waypost_regex.sets import PatternSets, options

waypost_contract = 1


@hookimpl
def matchers() -> list[Matcher[str]]:
    """The matcher `regex`, asked after those that need no pattern."""
    return [Matcher(name="regex", precedence=400, rule=str, compile=compile_rules)]


def compile_rules(rules: Sequence[str], report: Report) -> Compiled:
    """Compile each pattern alone, to tell what is wrong with it, then all as sets."""
    usable: dict[int, str] = {}
    with_groups: dict[int, re2._Regexp] = {}
    first_of: dict[str, int] = {}
    for index, rule in enumerate(rules):
        pattern = unicodedata.normalize("NFC", rule)
        try:
            regexp = re2.compile(pattern, options())
        except re2.error as error:
            report.error(index, advice.refused(error))
            continue
        usable[index] = pattern
        if regexp.groupindex:
            with_groups[index] = regexp
        pieces = tokens(pattern)
        _advise(index, pieces, report)
        first = first_of.setdefault(folded(pieces), index)
        if first != index:
            report.duplicate(index, first)

    sets = PatternSets(list(usable.values()))
    index_of = list(usable)

    def find(recipient: Recipient) -> Sequence[Hit]:
        typed, compared = _texts(recipient.address)
        return [
            Hit(index, _fields(with_groups[index], typed, compared))
            if index in with_groups
            else Hit(index)
            for index in (index_of[position] for position in sets.match(compared))
        ]

    fields = [
        frozenset(with_groups[index].groupindex) if index in with_groups else frozenset[str]()
        for index in range(len(rules))
    ]
    return Compiled(find, fields)


def _advise(index: int, pieces: Sequence[Token], report: Report) -> None:
    for text in advice.errors(pieces, report.is_ours):
        report.error(index, text)
    for text in advice.warnings(pieces):
        report.warning(index, text)


def _texts(address: Address) -> tuple[str, str]:
    typed = unicodedata.normalize("NFC", address.local)
    compared = unicodedata.normalize("NFC", address.local.lower())
    return f"{typed}@{address.domain}", f"{compared}@{address.domain}"


def _fields(regexp: re2._Regexp, typed: str, compared: str) -> Mapping[str, str]:
    # Lower case may change more than RE2 folds ("İ" becomes two characters): then that form serves.
    match = regexp.fullmatch(typed) or regexp.fullmatch(compared)
    if match is None:
        raise RuntimeError("RE2 could not say what a pattern's groups hold")
    return match.groupdict("")
