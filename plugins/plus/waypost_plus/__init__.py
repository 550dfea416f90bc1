"""The matcher `plus`: an address with any tag, as in `user1+anything@mydomain.net`.

Owns nothing but a dictionary from canonical addresses without tag to rules. Used through the hook
`matchers`. Promises: a hit only where there is a tag; one hit at most, found without looking at
other rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from waypost.address import Address, Recipient
from waypost.hookspecs import AddressRule, Compiled, Hit, Matcher, Report, hookimpl

waypost_contract = 1


@hookimpl
def matchers() -> list[Matcher[Address]]:
    """The matcher `plus`, asked after `exact`, which may single out one tag."""
    return [Matcher(name="plus", precedence=200, rule=AddressRule, compile=compile_rules)]


def compile_rules(rules: Sequence[Address], report: Report) -> Compiled:
    """Index the rules by the address that is left when the tag is taken off."""
    by_key: dict[str, int] = {}
    for index, rule in enumerate(rules):
        if not report.is_ours(rule.domain):
            report.error(
                index,
                f'"{rule.domain}" is not in `domains`, so this can never match; '
                "add it there (or take it out of `not_ours`), or correct the rule",
            )
        # Only the recipient knows its domain's `delimiter`; "+" is the default and the likely slip.
        base, plus, _ = rule.local.partition("+")
        if base and plus:
            report.warning(
                index,
                f'"{rule}" holds a "+", where the tag starts, so this can only match under another '
                f'`delimiter`; write "{Address(base, rule.domain)}", or use `exact` for one tag',
            )
        first = by_key.setdefault(rule.key, index)
        if first != index:
            report.duplicate(index, first)

    def find(recipient: Recipient) -> Sequence[Hit]:
        if not recipient.tag:
            return ()
        index = by_key.get(Address(recipient.base, recipient.address.domain).key)
        return () if index is None else (Hit(index),)

    return Compiled(find)
