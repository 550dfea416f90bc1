"""From a document and the installed matchers to a `Config`.

Owns the meaning of the file: which parts must agree with which. Works on what could be read
(`tables`) and goes on after every mistake, so that one run tells them all.

Promises: `read` returns a configuration without errors, or raises `ConfigError` with everything
that was found. Pure, yet matchers compile their rules here: who has an event loop calls it in a
thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from waypost.address import NotAnAddress, and_parents, canonical_domain
from waypost.config import not_yet, rules, traps
from waypost.config.model import Config, Outgoing
from waypost.config.problems import ConfigError, Findings, Path, did_you_mean
from waypost.config.relays import Files, RelayReader
from waypost.config.routes import RouteReader, check_fields, check_name, check_relay
from waypost.config.tables import RouteTable, Tables, read_tables
from waypost.hookspecs import Matcher
from waypost.resolver import Domain, Domains
from waypost.route import NextHops


def read(
    document: Mapping[str, object],
    matchers: Sequence[Matcher[object]],
    files: Files | None = None,
) -> Config:
    """The configuration that `document` (as tomllib gives it) describes. Raises ConfigError.

    `files` reads what relays name; without, it is not looked at, and no password is known.
    """
    found = Findings()
    mended = traps.mend(document, found)
    not_yet.refuse(mended, found)
    tables = read_tables(mended, found)

    domains = _domains(tables, found)
    next_hops = _next_hops(tables, files, found)
    _check_listens(tables, found)
    written = RouteReader(tables, domains, next_hops, found).read()
    compiled = rules.compile_rules(
        _rules(tables, matchers, found),
        matchers,
        {name: each.route for name, each in written.items()},
        lambda domain: domains is None or domains.find(domain) is not None,
        found,
    )
    for name, each in written.items():
        check_fields(each, compiled.carried.get(name, []), found)

    if not written and not found.fatal:
        found.warning(("routes",), "there is no route, so no mail is forwarded")
    if domains is None or found.fatal:
        raise ConfigError(found.problems, compiled.closers)
    outgoing = tables.outgoing
    return Config(
        domains=domains,
        route_domain=tables.top.route_domain,
        state=tables.top.state,
        keep=tables.top.keep,
        milter=tables.milter.listen,
        transport=tables.transport.listen,
        deadline=tables.transport.deadline,
        outgoing=Outgoing(outgoing.helo, outgoing.bind, outgoing.address_family),
        routes=tuple(each.route for each in written.values()),
        matchers=tuple(compiled.matchers),
        next_hops=next_hops,
        failover_after=tables.defaults.failover_after,
        closers=tuple(compiled.closers),
        warnings=tuple(found.problems),
    )


def _domains(tables: Tables, found: Findings) -> Domains | None:
    """Our domains; None when they could not be read, and nothing can be said about them."""
    top = tables.top
    if not top.domains:
        if "domains" not in tables.document:
            found.error(("domains",), 'this key is required, such as domains = ["example.org"]')
        elif top.domains is not None:
            found.error(("domains",), "the list is empty: there is no mail to route")
        return None
    ours = {name: Domain(name, top.unmatched, top.delimiter) for name in top.domains}
    for written, table in tables.domain.items():
        name = _one_of_ours(("domain", written), written, ours, found)
        if name is not None:
            delimiter = top.delimiter if table.delimiter is None else table.delimiter
            ours[name] = Domain(name, table.unmatched or top.unmatched, delimiter)
    _check_not_ours(top.not_ours, ours, found)
    _check_route_domain(top.route_domain, ours, found)
    return Domains(ours, frozenset(top.not_ours))


def _one_of_ours(
    path: Path, written: str, ours: Mapping[str, Domain], found: Findings
) -> str | None:
    try:
        name = canonical_domain(written)
    except NotAnAddress as error:
        found.error(path, str(error))
        return None
    if name not in ours:
        found.error(path, f'"{name}" is not in domains{did_you_mean(name, ours)}')
        return None
    return name


def _check_not_ours(not_ours: Sequence[str], ours: Mapping[str, Domain], found: Findings) -> None:
    for index, name in enumerate(not_ours):
        path = ("not_ours", index)
        if name in ours:
            found.error(path, f'"{name}" is in domains as well; leave it out of one of them')
        elif not any(parent in ours for parent in and_parents(name)):
            found.warning(path, f'"{name}" lies outside domains, so it is not ours anyway')


def _check_route_domain(route_domain: str, ours: Mapping[str, Domain], found: Findings) -> None:
    for name in ours:
        if route_domain in and_parents(name) or name in and_parents(route_domain):
            text = (
                f'"{route_domain}" and "{name}" of domains overlap; '
                "take a name that nobody writes to, such as waypost.invalid"
            )
            found.error(("route_domain",), text)


def _next_hops(tables: Tables, files: Files | None, found: Findings) -> NextHops:
    for name in tables.relays:
        check_name(("relays", name), name, found)
    reader = RelayReader(files, found)
    relays = {
        name: reader.read(name, table, tables.raw("relays", name))
        for name, table in tables.relays.items()
    }
    default = tables.outgoing.default_relay
    if default is None:
        return NextHops(relays, tables.next_hops)
    check_relay(("outgoing", "default_relay"), default, tables.names("relays"), found)
    return NextHops(relays, tables.next_hops, relays.get(default))


def _check_listens(tables: Tables, found: Findings) -> None:
    if tables.milter.listen == tables.transport.listen:
        text = f"{tables.milter.listen} is the milter's socket already; each needs its own"
        found.error(("transport", "listen"), text)


def _rules(
    tables: Tables, matchers: Sequence[Matcher[object]], found: Findings
) -> dict[str, list[rules.WrittenRule]]:
    """The rules of all routes by matcher, in file order."""
    collected: dict[str, list[rules.WrittenRule]] = {matcher.name: [] for matcher in matchers}
    for name, table in tables.routes.items():
        written = rules.collect(name, table.match)
        for matcher, its_rules in written.items():
            if matcher in collected:
                collected[matcher] += its_rules
            else:
                path = ("routes", name, "match", matcher)
                found.error(path, rules.unknown_matcher(matcher, matchers))
        if not any(written.values()) and _says_nothing(table, tables.raw("routes", name)):
            text = 'no rule leads here; add one, such as match.exact = ["user@example.org"]'
            found.error(("routes", name), text)
    return collected


def _says_nothing(table: RouteTable, raw: Mapping[str, object]) -> bool:
    """Whether `match` is absent or holds no rule; not when it is there and wrong."""
    return "match" not in raw or "match" in table.model_fields_set
