"""A realistic configuration with the five matchers, and what asks it: for fuzzing and for counting.

`mydomain.net` and `seconddomain.de` refuse the unknown, `kept.example` is a `pass` domain,
`imx.mydomain.net` is not ours. `slow@mydomain.net` waits a second, as a matcher that looks
something up does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

from waypost.address import Recipient, RouteAddresses
from waypost.config import Config, parse_toml, read
from waypost.events import Event
from waypost.hookspecs import Hit, Matcher
from waypost.milter import Milter
from waypost.milter.conversation import Services
from waypost.plugins import load_plugins
from waypost.resolver import MatcherInUse, Resolver, RuleInUse

CONFIG = r"""
domains = ["mydomain.net", "seconddomain.de", "kept.example", "xn--bcher-kva.example"]
not_ours = ["imx.mydomain.net"]

[domain."kept.example"]
unmatched = "pass"
[domain."seconddomain.de"]
delimiter = "+-"

[relays.improvmx]
url = "smtp://smtp.improvmx.com:587"

[next_hops]
"gmail.com" = "smtp://127.0.0.1:2601"

[defaults]
last_resort = "lastresort@outlook.com"

[routes.user1]
match.exact = ["user1@mydomain.net", '"user 1"@mydomain.net', "jörg@mydomain.net"]
match.plus = ["user1@mydomain.net", "user1@seconddomain.de"]
match.subdomain = ["user1.mydomain.net"]
deliver = ["user1@gmail.com", { to = "user1@imx.mydomain.net", via = "improvmx" }]

[routes.family]
match.exact = ["family@mydomain.net", "family@bücher.example"]
fan_out = [["email1@gmail.com", "email1@outlook.com"], ["email2@gmail.com", "email2@outlook.com"]]

[routes.shops]
match.regex = ['shop-(?P<name>.*)@mydomain\.net', '(u|user)2([+-].*)?@mydomain\.net', '[0-9]+@.*']
deliver = ["user2+{local}@gmail.com", "user2@gmx.de"]

[routes.tags]
match.plus = ["tags@mydomain.net"]
deliver = ["tags+{tag}@gmail.com"]
last_resort = []

[routes.list]
match.exact = ["list@kept.example"]
match.plus = ["list@kept.example"]
deliver = ["list@gmail.com"]

[routes.everyone-else]
match.catch_all = ["seconddomain.de"]
deliver = ["catchall+{local}.{subdomain}@gmail.com", "catchall@gmx.de"]
last_resort = []
"""
KEY = b"k" * 32
ROUTE_DOMAIN = "waypost.invalid"
ROUTE_ADDRESSES = RouteAddresses(ROUTE_DOMAIN, KEY)
MESSAGE_ID = "abcdefghabcdefgh"


@cache
def matchers() -> Sequence[Matcher[object]]:
    """The installed matchers: the five."""
    plugins = load_plugins()
    assert not plugins.problems
    return plugins.matchers


@cache
def config() -> Config:
    """`CONFIG`, read."""
    return read(parse_toml(CONFIG), matchers())


@cache
def resolver() -> Resolver:
    """The resolver of `CONFIG`, and the matcher that waits."""
    known = config()
    slow = MatcherInUse("slow", 50, _slowly, [RuleInUse(known.routes[0], "slow")])
    return Resolver(known.domains, [slow, *known.matchers], known.next_hops)


def _slowly(recipient: Recipient) -> Sequence[Hit] | Awaitable[Sequence[Hit]]:
    return _after_a_second() if recipient.key == "slow@mydomain.net" else ()


async def _after_a_second() -> Sequence[Hit]:
    await asyncio.sleep(1)
    return (Hit(0),)


def services(observe: Callable[[Event], None]) -> Services:
    """What a milter conversation asks of the rest, answered by `CONFIG`."""
    return Services(resolver, lambda: ROUTE_ADDRESSES, lambda: MESSAGE_ID, observe, lambda: 1e9)


def milter(observe: Callable[[Event], None]) -> Milter:
    """A milter that works by `CONFIG`."""
    return Milter(
        resolver=resolver,
        route_addresses=lambda: ROUTE_ADDRESSES,
        new_id=lambda: MESSAGE_ID,
        observe=observe,
        clock=lambda: 1e9,
    )
