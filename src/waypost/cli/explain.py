"""`waypost explain`: where mail for an address would go now, and why.

Owns the telling of a resolution, to a person and as JSON, one object a line: `{recipient, verdict,
match: {matcher, rule, route, fields}, shadowed: [match, ...], legs: [[{to, via, next_hop}, ...],
...], reply, reason}`. `match` is null when there is none; `reply` is what a client would be told,
null when the recipient is fine by us; `reason` says more where there is more to say.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from waypost.address import Address, NotAnAddress, RouteAddresses, canonical_domain
from waypost.cli import explain_reply
from waypost.config import Config, ConfigError
from waypost.load import Loaded, load
from waypost.plugins import load_plugins
from waypost.reply import Reply
from waypost.resolver import Match, MatcherTrouble, NotOurs, Routed, Untouched, template_fields
from waypost.route import Destination, TlsPolicy
from waypost.status import BAD_SYNTAX, NOT_FOR_YOU, TROUBLE, refusal

Verdict = Literal["routed", "refused", "not_ours", "untouched", "trouble"]

EXIT_STATUS: Final[dict[Verdict, int]] = {
    "routed": 0,
    "refused": 3,
    "not_ours": 4,
    "untouched": 4,
    "trouble": 75,  # EX_TEMPFAIL of sysexits.h: the mail would have to wait
}
_HEADLINE: Final[dict[Verdict, str]] = {
    "routed": "routed",
    "refused": "refused",
    "not_ours": "not ours: Postfix decides alone",
    "untouched": 'no route, left to Postfix (unmatched = "pass")',
    "trouble": "deferred",
}
_TLS: Final[dict[TlsPolicy, str]] = {
    TlsPolicy.OPPORTUNISTIC: "",
    TlsPolicy.REQUIRE: ", TLS required",
    TlsPolicy.VERIFY: ", TLS verified",
    TlsPolicy.NEVER: ", no TLS",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one address."""

    recipient: str
    """As it was asked for."""
    verdict: Verdict
    routed: Routed | None = None
    """The resolution, if there was a match (refused ones may have one)."""
    reply: Reply | None = None
    reason: str | None = None


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "explain",
        help="tell where mail for an address would go, and why, or what a reply means",
        description="Tell where mail for each address would go now, and why. Exit status 0: routed,"
        " 3: refused, 4: not ours, or left to Postfix, 75: a matcher failed. Of several addresses"
        " the highest. With --reply, tell what a next hop means by a reply.",
    )
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("addresses", metavar="ADDRESS", nargs="*", default=[])
    asked.add_argument(
        "--reply",
        metavar="TEXT",
        type=explain_reply.read_reply,
        help="a reply as the log shows it, such as '451 4.7.650 try later'",
    )
    parser.add_argument(
        "--stage",
        choices=explain_reply.STAGES,
        default="rcpt",
        help="to which command the reply came (default: rcpt)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Explain every address, or the reply."""
    if args.reply is not None:
        return explain_reply.run(args)
    try:
        loaded = load(Path(args.config), load_plugins(), with_secrets=False)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{args.config}: {problem}", file=sys.stderr)
        return 1
    explanations = asyncio.run(_explain_all(loaded, args.addresses))
    for number, explanation in enumerate(explanations):
        if args.json:
            print(json.dumps(as_json(explanation)))
            continue
        if number:
            print()
        for line in as_text(explanation, loaded.config):
            print(_printable(line))
    return max(EXIT_STATUS[explanation.verdict] for explanation in explanations)


def _printable(line: str) -> str:
    # Bytes that are not UTF-8 reach us as lone surrogates (PEP 383), which cannot be printed.
    return line.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding)


async def _explain_all(loaded: Loaded, addresses: Sequence[str]) -> list[Explanation]:
    try:
        return [await explain(loaded, address) for address in addresses]
    finally:
        for close in loaded.config.closers:
            await close()


async def explain(loaded: Loaded, text: str) -> Explanation:
    """What would become of mail for `text`, as the milter answers at RCPT."""
    try:
        address = Address.parse(text)
    except NotAnAddress as error:
        return _explain_unreadable(loaded.config, text, str(error))
    if address.domain == loaded.config.route_domain:
        return _explain_route_address(loaded.config, text, address)
    try:
        resolution = await loaded.resolver.resolve(address, trace=True)
    except MatcherTrouble as error:
        return Explanation(text, "trouble", reply=TROUBLE, reason=str(error))
    if isinstance(resolution, NotOurs):
        return Explanation(text, "not_ours")
    if isinstance(resolution, Untouched):
        return Explanation(text, "untouched")
    routed = resolution if isinstance(resolution, Routed) else None
    reply = refusal(resolution)
    if reply is None:
        return Explanation(text, "routed", routed)
    reason = "none of the route's destinations makes a legal address" if routed else None
    return Explanation(text, "refused", routed, reply, reason)


def _explain_unreadable(config: Config, text: str, reason: str) -> Explanation:
    _, at, domain = text.rpartition("@")
    try:
        ours = config.domains.find(canonical_domain(domain)) is not None
    except NotAnAddress:
        ours = True
    if ours or not at:
        return Explanation(text, "refused", reply=BAD_SYNTAX, reason=reason)
    return Explanation(text, "not_ours", reason=reason)


def _explain_route_address(config: Config, text: str, address: Address) -> Explanation:
    # Whether it is genuine only the daemon's key could tell; whom it was made for needs none.
    read = RouteAddresses(config.route_domain, key=b"").read(address)
    reason = f"a route address, for mail to {read.recipient}" if read else "the route domain"
    reason += "; it takes no mail but what Postfix itself hands on"
    return Explanation(text, "refused", reply=NOT_FOR_YOU, reason=reason)


def as_json(explanation: Explanation) -> dict[str, object]:
    """The object that `--json` prints."""
    routed = explanation.routed
    return {
        "recipient": explanation.recipient,
        "verdict": explanation.verdict,
        "match": _match(routed, routed.match) if routed else None,
        "shadowed": [_match(routed, match) for match in routed.shadowed] if routed else [],
        "legs": [
            [
                {"to": str(each.to), "via": each.via, "next_hop": each.next_hop.name}
                for each in leg.destinations
            ]
            for leg in (routed.legs if routed else ())
        ],
        "reply": str(explanation.reply) if explanation.reply else None,
        "reason": explanation.reason,
    }


def _match(routed: Routed, match: Match) -> dict[str, object]:
    fields = template_fields(routed.recipient, match)
    return {
        "matcher": match.matcher,
        "rule": match.rule,
        "route": match.route.name,
        "fields": {name: str(value) for name, value in fields.items()},
    }


def as_text(explanation: Explanation, config: Config) -> Iterator[str]:
    """The lines that a person is shown."""
    reply = f": {explanation.reply}" if explanation.reply else ""
    yield f"{explanation.recipient}: {_HEADLINE[explanation.verdict]}{reply}"
    if explanation.reason:
        yield f"  because   {explanation.reason}"
    routed = explanation.routed
    if routed is None:
        return
    yield f"  match     {_matched(routed.match)}"
    fields = template_fields(routed.recipient, routed.match)
    yield f"  fields    {', '.join(f'{name} = {value}' for name, value in fields.items() if value)}"
    for number, shadowed in enumerate(routed.shadowed):
        yield f"  {'' if number else 'shadows':<9} {_matched(shadowed)}"
    yield from _legs(routed, config)


def _matched(match: Match) -> str:
    return f"{match.matcher} {match.rule} -> route {match.route.name}"


def _legs(routed: Routed, config: Config) -> Iterator[str]:
    if len(routed.legs) > 1:
        enough = "all of them" if routed.match.route.success == "all" else "any of them is enough"
        yield f"  legs      {len(routed.legs)}, side by side, {enough}"
    width = max((len(str(each.to)) for leg in routed.legs for each in leg.destinations), default=0)
    for number, leg in enumerate(routed.legs, start=1):
        label = f"leg {number}" if len(routed.legs) > 1 else "tries"
        for turn, destination in enumerate(leg.destinations, start=1):
            head = label if turn == 1 else ""
            to = str(destination.to).ljust(width)
            yield f"  {head:<9} {turn}. {to}  {_next_hop(destination, config)}"


def _next_hop(destination: Destination, config: Config) -> str:
    hop = destination.next_hop
    tls = _TLS[hop.tls.policy]
    if destination.via is not None:
        return f"via {destination.via} ({hop.place}{tls})"
    if hop.port is None:
        return f"MX of {hop.host}"
    source = "next_hops" if destination.to.domain in config.next_hops.by_domain else "default relay"
    return f"{hop.place} ({source}{tls})"
