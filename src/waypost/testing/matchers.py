"""Ask one matcher, without daemon, Postfix or configuration file; and hold it to the contract.

Owns `compile_matcher`, which compiles a matcher from a line of TOML as an operator writes it, and
`check_contract`, which every matcher should pass::

    def test_whole_addresses() -> None:
        ask = compile_matcher(matchers()[0], 'match.exact = ["user1@mydomain.net"]')
        assert ask.find("User1@mydomain.net") == [Hit(0)]
        assert ask.find("user2@mydomain.net") == []

    def test_contract() -> None:
        check_contract(
            matchers()[0], 'match.exact = ["user1@mydomain.net"]', known=["user1@mydomain.net"]
        )

Promises: recipients are made as the daemon makes them; a `find` that waits is awaited, with the
daemon's patience. (Call from plain functions: in a coroutine there is a loop already.)
"""

from __future__ import annotations

import asyncio
import re
import tomllib
import unicodedata
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Self, TypeVar

import idna
from pydantic import ConfigDict, TypeAdapter, ValidationError

from waypost.address import Address, Recipient, canonical_domain
from waypost.hookspecs import Compiled, Hit, Matcher, Rule
from waypost.resolver import FIND_SECONDS, Domain, Domains

_T = TypeVar("_T")

_DOMAINS = ("mydomain.net",)


@dataclass(frozen=True, slots=True)
class Problem:
    """What a matcher says about a rule."""

    rule: int
    """Index of the rule, as in the TOML text."""
    text: str


@dataclass(slots=True)
class _Report:
    """Keeps what `compile` reports (`waypost.hookspecs.Report`)."""

    domains: Domains
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    duplicates: list[tuple[int, int]] = field(default_factory=list)

    def error(self, rule: int, text: str) -> None:
        self.errors.append(Problem(rule, text))

    def warning(self, rule: int, text: str) -> None:
        self.warnings.append(Problem(rule, text))

    def duplicate(self, rule: int, of: int) -> None:
        self.duplicates.append((rule, of))

    def is_ours(self, domain: str) -> bool:
        return self.domains.find(domain) is not None


class CompiledMatcher(Generic[Rule]):
    """A matcher with rules, ready to be asked. What waits wants to be closed: use it in `with`."""

    def __init__(
        self, matcher: Matcher[Rule], rules: Sequence[Rule], domains: Domains, report: _Report
    ) -> None:
        self.rules = rules
        """The rules as pydantic made them."""
        self.errors = report.errors
        """What `compile` reported; a configuration with one of these is refused."""
        self.warnings = report.warnings
        self.duplicates = report.duplicates
        """Pairs of a rule and the earlier one that it repeats; refused as well."""
        self._domains = domains
        self._compiled: Compiled = matcher.compile(rules, report)
        self._runner = asyncio.Runner()

    @property
    def fields(self) -> list[frozenset[str]]:
        """Per rule, the names that its hits are declared to carry."""
        return list(self._compiled.fields) or [frozenset()] * len(self.rules)

    def find(self, address: str) -> list[Hit]:
        """The hits for `address`, best first.

        Raises NotAnAddress, ValueError for an address that is not in `domains` (a matcher is never
        asked about one), TimeoutError, and whatever the matcher raises.
        """
        found = self._compiled.find(self._recipient(Address.parse(address)))
        return list(self._runner.run(_wait(found)) if isinstance(found, Awaitable) else found)

    def _recipient(self, address: Address) -> Recipient:
        domain = self._domains.find(address.domain)
        if domain is None:
            raise ValueError(f'"{address}" is not in `domains`: no matcher is asked about it')
        return Recipient(address, domain.name, domain.delimiter)

    def close(self) -> None:
        """Close what the matcher keeps open."""
        if self._compiled.close is not None:
            self._runner.run(_wait(self._compiled.close()))
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


async def _wait(waiting: Awaitable[_T]) -> _T:
    async with asyncio.timeout(FIND_SECONDS):
        return await waiting


def compile_matcher(
    matcher: Matcher[Rule],
    toml: str,
    *,
    domains: Sequence[str] = _DOMAINS,
    not_ours: Sequence[str] = (),
    delimiter: str = "+",
) -> CompiledMatcher[Rule]:
    """Compile `matcher` with the rules in `toml`, such as `match.exact = ["user1@mydomain.net"]`.

    `domains`, `not_ours` and `delimiter` mean what they mean in waypost.toml. A rule that is not of
    the matcher's type ends up in `errors`, and nothing is compiled. Raises TOMLDecodeError, and
    ValueError when `toml` has no rules for this matcher.
    """
    known = Domains(
        {name: Domain(name, delimiter=delimiter) for name in map(canonical_domain, domains)},
        frozenset(map(canonical_domain, not_ours)),
    )
    report = _Report(known)
    return CompiledMatcher(matcher, _rules(matcher, toml, report), known, report)


def _rules(matcher: Matcher[Rule], toml: str, report: _Report) -> list[Rule]:
    written = tomllib.loads(toml).get("match", {}).get(matcher.name)
    if written is None:
        raise ValueError(f"no `match.{matcher.name}` in: {toml}")
    adapter: TypeAdapter[list[Rule]] = TypeAdapter(
        list[matcher.rule],  # type: ignore[name-defined]  # a type only at run time
        # Else a rule that is a dataclass would not mind a misspelt key.
        config=ConfigDict(extra="forbid"),
    )
    try:
        return adapter.validate_python(written if isinstance(written, list) else [written])
    except ValidationError as error:
        for problem in error.errors():
            report.error(int(problem["loc"][0]), problem["msg"].removeprefix("Value error, "))
        return []


# As they are meant: without the quotes that some of them need in an address.
_LOCAL_PARTS = (
    "+", "+x", "x+", "user1++", "-", "=", "a=b=c", "%s%n", "%(name)s", "{local}", "{0.__class__}",
    "{{", "}", "$(id)", "`id`", "|cat", "../../etc/passwd", "*", ".*", "a,b", "a..b", ".a", "a.",
    " ", "a b", '"', "\\", "a\\", "@", "user1@elsewhere.example", "<>", "'; DROP TABLE rules; --",
    "1" * 64, "a" * 300, "+".join("a" * 60), "\N{LATIN SMALL LETTER SHARP S}",
    "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}", "\N{GREEK CAPITAL LETTER SIGMA}", "J\u030c",
    "\N{KELVIN SIGN}", "\N{RIGHT-TO-LEFT OVERRIDE}x", "\N{PILE OF POO}", "\N{ZERO WIDTH JOINER}",
    "a\N{LINE SEPARATOR}b",
)  # fmt: skip


def hostile_addresses(domains: Iterable[str] = _DOMAINS) -> list[str]:
    """Addresses in `domains` that a stranger may type, and that break what was written in haste."""
    return [
        str(Address(local, below + canonical_domain(domain)))
        for domain in domains
        for below in ("", "a.", "a." * 60, "xn--mnchen-3ya.", "_.")
        for local in _LOCAL_PARTS
    ]


def check_contract(
    matcher: Matcher[Rule],
    toml: str,
    *,
    known: Sequence[str],
    domains: Sequence[str] = _DOMAINS,
    not_ours: Sequence[str] = (),
    delimiter: str = "+",
) -> None:
    """Raise AssertionError unless `matcher` keeps the contract with the rules in `toml`.

    `known` are addresses that these rules match. Checked on them, and on `hostile_addresses`:

    - nothing is raised, and the same question gets the same answer: asked twice, in another order,
      by the same rules compiled anew;
    - every way to write a mailbox gets the same rules: case, Unicode normalisation, A-label or
      U-label;
    - a hit's rule exists, no rule comes twice, and its fields are those declared, text or Address;
    - without rules there are no hits.
    """
    assert re.fullmatch(r"[a-z][a-z0-9_]*", matcher.name), f'"{matcher.name}" is no key for TOML'

    def compiled(text: str) -> CompiledMatcher[Rule]:
        return compile_matcher(
            matcher, text, domains=domains, not_ours=not_ours, delimiter=delimiter
        )

    addresses = [*known, *hostile_addresses(domains)]
    with compiled(toml) as ask, compiled(toml) as anew:
        assert not ask.errors, f"these rules are refused: {ask.errors}"
        assert not ask.duplicates, f"these rules are refused as duplicates: {ask.duplicates}"
        answers = {address: _answer(ask, address) for address in addresses}
        for address in known:
            assert answers[address], f"{address} is known, yet there is no hit"
        for address in reversed(addresses):
            for other, when in ((ask, "asked again"), (anew, "compiled anew")):
                again = _answer(other, address)
                first = answers[address]
                assert again == first, f"{address}: {first}, and {when}: {again}"
        for address in addresses:
            for written in _ways_to_write(Address.parse(address)):
                rules = [hit.rule for hit in answers[address]]
                others = [hit.rule for hit in _answer(ask, written)]
                assert others == rules, f"{address}: rules {rules}, yet {written}: rules {others}"
    with compiled(f"match.{matcher.name} = []") as ask:
        for address in addresses:
            hits = _answer(ask, address)
            assert not hits, f"{address}: {hits} without any rule"


def _answer(ask: CompiledMatcher[Rule], address: str) -> list[Hit]:
    try:
        hits = ask.find(address)
    except Exception as error:
        raise AssertionError(f"{address}: raised {error!r}") from error
    assert len(ask.fields) == len(ask.rules), "`fields` has one entry per rule, or none at all"
    for hit in hits:
        assert 0 <= hit.rule < len(ask.rules), f"{address}: there is no rule {hit.rule}"
        declared = ask.fields[hit.rule]
        assert hit.fields.keys() == declared, (
            f"{address}: the hit carries {sorted(hit.fields)}, declared are {sorted(declared)}"
        )
        assert all(isinstance(value, str | Address) for value in hit.fields.values()), (
            f"{address}: a field is text or an Address, not {dict(hit.fields)}"
        )
    rules = [hit.rule for hit in hits]
    assert len(set(rules)) == len(rules), f"{address}: a rule comes twice in {rules}"
    return hits


def _ways_to_write(address: Address) -> Iterator[str]:
    try:
        domain = idna.decode(address.domain)
    except idna.IDNAError:  # DNS takes more than IDNA does, such as "_"
        domain = address.domain
    for local in (address.local, address.local.upper(), address.local.lower()):
        for form in (local, unicodedata.normalize("NFD", local)):
            written = str(Address(form, domain.upper()))
            # What means another mailbox ("ß" in capitals is "SS") may get another answer.
            if Address.parse(written).key == address.key:
                yield written
