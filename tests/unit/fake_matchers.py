"""Small matchers, for tests of what uses matchers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from waypost.address import Address, Recipient
from waypost.hookspecs import Compiled, Hit, Matcher, Report


def word(name: str = "word", precedence: int = 100) -> Matcher[str]:
    """A rule is a local part. `user1/shop` adds a field `shop` to the hits, its name as value."""

    def compile_rules(rules: Sequence[str], report: Report) -> Compiled:
        words = [rule.split("/")[0] for rule in rules]
        names = [frozenset(rule.split("/")[1:]) for rule in rules]
        for index, each in enumerate(words):
            if each in words[:index]:
                report.duplicate(index, words.index(each))
            if "?" in each:
                report.error(index, "no question marks")
            if "+" in each:
                report.warning(index, "looks like a tag")
            if each.endswith(".example") and not report.is_ours(each):
                report.error(index, "is not ours")

        def find(recipient: Recipient) -> list[Hit]:
            return [
                Hit(index, {name: name for name in names[index]})
                for index, each in enumerate(words)
                if each in (recipient.base, recipient.address.local)
            ]

        return Compiled(find, names)

    return Matcher(name, precedence, str, compile_rules)


@dataclass(frozen=True)
class Lookup:
    """A rule that is a table."""

    table: str
    column: str = "address"


def lookup(
    rows: dict[str, str], close: Callable[[], Awaitable[None]] | None = None
) -> Matcher[Lookup]:
    """A rule is `{ table, column? }`; hits carry `destination`, a whole address from `rows`."""

    def compile_rules(rules: Sequence[Lookup], _report: Report) -> Compiled:
        async def find(recipient: Recipient) -> list[Hit]:
            to = rows.get(recipient.base)
            return [Hit(0, {"destination": Address.parse(to)})] if to else []

        return Compiled(find, [frozenset({"destination"})] * len(rules), close)

    return Matcher("lookup", 500, Lookup, compile_rules)


def raising(error: Exception, *, when: str = "compile") -> Matcher[str]:
    """A matcher with a mistake of its own."""

    def compile_rules(_rules: Sequence[str], _report: Report) -> Compiled:
        if when == "compile":
            raise error

        def find(_recipient: Recipient) -> list[Hit]:
            raise error

        return Compiled(find)

    return Matcher("raising", 600, str, compile_rules)
