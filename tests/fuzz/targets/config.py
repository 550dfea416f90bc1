"""A configuration file, with the five matchers.

An input: the file.

Held to: it is a configuration, or a `ConfigError` whose problems are a line each; a configuration
answers for every recipient.
"""

from __future__ import annotations

from tests.fuzz import world
from tests.fuzz.virtual import Violation, run
from waypost.address import Address
from waypost.config import ConfigError, parse_toml, read
from waypost.resolver import Resolver

_ASKED = ("user1@mydomain.net", "user1+x@mydomain.net", "a@b.mydomain.net", '"a@b"@mydomain.net')


def one(data: bytes) -> None:
    """Run one input."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # `load` refuses it
    try:
        config = read(parse_toml(text), world.matchers())
    except ConfigError as error:
        if not error.problems:
            raise Violation("refused without a word") from error
        problems = error.problems
    else:
        problems = config.warnings
        resolver = Resolver(config.domains, config.matchers, config.next_hops)
        run(_resolve(resolver))
    for problem in problems:
        if not str(problem).isprintable():
            raise Violation(f"not a line of text: {problem!r}")


async def _resolve(resolver: Resolver) -> None:
    for asked in _ASKED:
        await resolver.resolve(Address.parse(asked), trace=True)
