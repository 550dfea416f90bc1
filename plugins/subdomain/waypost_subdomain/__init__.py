"""The matcher `subdomain`: anything at a domain of one's own, such as `user1.mydomain.net`.

Owns nothing but a dictionary from domains to rules. Used through the hook `matchers`. Promises:
every rule that the recipient's domain falls under, the longest domain first, found by one look-up
per label.
"""

from __future__ import annotations

from collections.abc import Sequence

from waypost.address import Recipient, and_parents, labels_before
from waypost.hookspecs import Compiled, DomainRule, Hit, Matcher, Report, hookimpl

waypost_contract = 1

_FIELDS = frozenset({"subdomain"})


@hookimpl
def matchers() -> list[Matcher[str]]:
    """The matcher `subdomain`, asked after those that look at the local part alone."""
    return [Matcher(name="subdomain", precedence=300, rule=DomainRule, compile=compile_rules)]


def compile_rules(rules: Sequence[str], report: Report) -> Compiled:
    """Index the rules by domain."""
    by_domain: dict[str, int] = {}
    for index, rule in enumerate(rules):
        if not report.is_ours(rule):
            report.error(
                index,
                f'"{rule}" is not in `domains`, so this can never match; '
                "add it there (or take it out of `not_ours`), or correct the rule",
            )
        first = by_domain.setdefault(rule, index)
        if first != index:
            report.duplicate(index, first)

    def find(recipient: Recipient) -> Sequence[Hit]:
        domain = recipient.address.domain
        return [
            Hit(by_domain[parent], {"subdomain": labels_before(domain, parent)})
            for parent in and_parents(domain)
            if parent in by_domain
        ]

    return Compiled(find, fields=[_FIELDS] * len(rules))
