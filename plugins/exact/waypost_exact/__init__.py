"""The matcher `exact`: whole addresses.

Owns nothing but a dictionary from canonical addresses to rules. Used through the hook `matchers`.
Promises: one hit at most, found without looking at other rules, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from waypost.address import Address, Recipient
from waypost.hookspecs import AddressRule, Compiled, Hit, Matcher, Report, hookimpl

waypost_contract = 1


@hookimpl
def matchers() -> list[Matcher[Address]]:
    """The matcher `exact`, asked before all others."""
    return [Matcher(name="exact", precedence=100, rule=AddressRule, compile=compile_rules)]


def compile_rules(rules: Sequence[Address], report: Report) -> Compiled:
    """Index the rules by what they compare: a tag is a part of the address like any other."""
    by_key: dict[str, int] = {}
    for index, rule in enumerate(rules):
        if not report.is_ours(rule.domain):
            report.error(
                index,
                f'"{rule.domain}" is not in `domains`, so this can never match; '
                "add it there (or take it out of `not_ours`), or correct the rule",
            )
        if rule.local == "*":
            report.warning(
                index,
                f'"{rule}" matches a real asterisk only; `catch_all = ["{rule.domain}"]` matches '
                "every address there",
            )
        first = by_key.setdefault(rule.key, index)
        if first != index:
            report.duplicate(index, first)

    def find(recipient: Recipient) -> Sequence[Hit]:
        index = by_key.get(recipient.key)
        return () if index is None else (Hit(index),)

    return Compiled(find)
