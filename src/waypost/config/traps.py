"""TOML's traps: what reads well and means something else.

Owns the reading of TOML text, with a hint for each syntax error that one is likely to make, and
`mend`: it finds tables that came out otherwise than they were meant, says how to write them, and
hands on the document as it was meant, so that no later check complains about the consequences.

Promises: `mend` leaves the document that it is given as it is.
"""

from __future__ import annotations

import copy
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from waypost.config.problems import ConfigError, Findings, Path, Problem, place, show
from waypost.config.tables import SHIPPED, DomainTable, RelayTable, RouteTable, TopTable

Table = dict[str, Any]  # what tomllib gives

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")

# A part of tomllib's message, and what most likely happened.
_SYNTAX_HINTS = (
    (
        "Unescaped '\\'",
        "write patterns in single quotes: in double quotes a backslash is TOML's own",
    ),
    ("Illegal character '\\n'", "is the closing quote missing?"),
    ('Expected "\'"', "is the closing quote missing?"),
    ("Cannot overwrite a value", "is this key there twice?"),
    ("Cannot mutate immutable namespace", "is this key there twice?"),
    ("Cannot declare", "this table was begun further up; put its keys together there"),
    ("Invalid value", "strings need quotes"),
    ("Expected '=' after a key", "a line is key = value; keys with @ and the like need quotes"),
    ("Invalid initial character", "names need quotes; a table in braces stays on one line"),
    ("at the end of a table declaration", "names with @ and the like need quotes"),
    ("Unclosed array", "is a comma or the closing bracket missing?"),
    ("Invalid statement", "a line is a # comment, a [header], or key = value"),
    ("Expected newline or end of document", "a line holds one key = value"),
)
_CURLY_QUOTES = frozenset("\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb")
_DEEPEST = 16
"""Tables and lists within each other. No file needs half of it, and a flood must not reach us."""


def parse_toml(text: str) -> Table:
    """Read TOML. Raises ConfigError with line, column and, where one is known, a hint."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(str(error), text)]) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # int() of very many digits
        raise ConfigError([Problem("", "not TOML: a number has too many digits")]) from None
    level: list[object] = [document]
    for _ in range(_DEEPEST):
        level = [below for each in level for below in _contents(each)]
    if level:
        raise _too_deep()
    return document


def _contents(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep() -> ConfigError:
    text = f"tables and lists lie more than {_DEEPEST} deep within each other"
    return ConfigError([Problem("", text)])


def _syntax_problem(message: str, text: str) -> Problem:
    position = _POSITION.search(message)
    where, line = "end of file", ""
    if position and position[1]:
        where = f"line {position[1]}, column {position[2]}"
        line = text.split("\n")[int(position[1]) - 1]
    reason = _POSITION.sub("", message)
    hints = [hint for part, hint in _SYNTAX_HINTS if part in reason]
    if _CURLY_QUOTES & set(line):
        hints = ["quotes are straight in TOML, \" or '"]
    return Problem(where, f"not TOML: {reason}" + "".join(f"; {hint}" for hint in hints[:1]))


def control_character(value: object) -> str | None:
    """How TOML writes the first control character in a rule's strings; None: there is none."""
    for char in _characters(value, "Cc"):
        named = {"\b": r"\b", "\t": r"\t", "\n": r"\n", "\f": r"\f", "\r": r"\r"}
        return named.get(char, rf"\u{ord(char):04X}")
    return None


def warn_of_invisible(path: Path, value: object, found: Findings) -> None:
    """Zero-width spaces and the like come with copied text; few addresses have them."""
    for char in _characters(value, "Cf"):
        found.warning(path, f"holds a character that cannot be seen, U+{ord(char):04X}")


def _characters(value: object, category: str) -> Iterator[str]:
    """The characters of a Unicode category in the strings of `value`."""
    if isinstance(value, str):
        yield from (char for char in value if unicodedata.category(char) == category)
    elif isinstance(value, dict):
        for below in value.values():
            yield from _characters(below, category)


def mend(document: Mapping[str, object], found: Findings) -> Table:
    """`document` as it was meant; what had to be mended goes to `found`."""
    mended: Table = copy.deepcopy(dict(document))
    _drop_keys_of_routes(mended, found)
    _lift_keys_of_the_top(mended, found)
    _quote_domains(mended, found)
    _join_dotted_names("routes", set(RouteTable.model_fields), mended, found)
    _join_dotted_names("relays", set(RelayTable.model_fields), mended, found)
    _lift_keys_of_routes(mended, found)
    _lower_matchers(mended, found)
    return mended


def _tables(table: Table, *names: str) -> Iterator[tuple[Path, Table]]:
    """The tables that `names` lead to, "*" standing for any name."""
    if not names:
        yield (), table
        return
    for key in list(table) if names[0] == "*" else names[:1]:
        if isinstance(table.get(key), dict):
            for path, below in _tables(table[key], *names[1:]):
                yield (key, *path), below


def _drop_keys_of_routes(document: Table, found: Findings) -> None:
    """`match` and `deliver` above the first header belong to no route."""
    for key in [key for key in document if key in RouteTable.model_fields]:
        found.error((key,), f'"{key}" belongs to a route; write it below a [routes.NAME]')
        del document[key]


def _lift_keys_of_the_top(document: Table, found: Findings) -> None:
    """`domains` and the like below a header belong to that header's table."""
    # Deepest first: a key that stands below [routes.u.match] is no concern of the route's.
    places = [
        *_tables(document, "routes", "*", "match"),
        *_tables(document, "routes", "*", "failover_after"),
        *_tables(document, "*", "*"),
        *_tables(document, "*"),
    ]
    for path, table in places:
        legal = set(DomainTable.model_fields) if path[0] == "domain" and len(path) == 2 else set()
        for key in [key for key in table if key in TopTable.model_fields and key not in legal]:
            if not isinstance(table[key], dict):
                text = f'"{key}" belongs to the top of the file, above the first [header]'
                found.error((*path, key), text)
                document.setdefault(key, table.pop(key))


def _quote_domains(document: Table, found: Findings) -> None:
    """`gmail.com = ...` makes a table `gmail` with a key `com`; `[domain.x.de]` one named `x`."""
    for _, table in _tables(document, "next_hops"):
        for path, value in list(_leaves(table)):
            domain = ".".join(path).removesuffix(".url")
            if len(path) > 1:
                text = f'write the domain in quotes: "{domain}" = ...'
                if path[1:] == ("url",):
                    text = f'a next hop is no table; write "{domain}" = {show(value)}'
                found.error(("next_hops", *path), text)
                table.pop(path[0], None)
                table[domain] = value
    for _, table in _tables(document, "domain"):
        for path, value in list(_subtables(table, set(DomainTable.model_fields))):
            domain = ".".join(path)
            text = f'write the domain in quotes: [domain."{domain}"]'
            found.error(("domain", *path), text)
            table.pop(path[0], None)
            table[domain] = value


def _leaves(table: Table) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from (((key, *path), leaf) for path, leaf in _leaves(value))
        else:
            yield (key,), value


def _subtables(section: Table, keys: set[str]) -> Iterator[tuple[tuple[str, ...], Table]]:
    """Tables deeper than the names of `section` that have one of `keys`, as its own tables do."""
    for name, table in section.items():
        if isinstance(table, dict):
            for key, value in table.items():
                if isinstance(value, dict) and key not in keys:
                    yield from (((name, *path), below) for path, below in _like(key, value, keys))


def _like(name: str, table: Table, keys: set[str]) -> Iterator[tuple[tuple[str, ...], Table]]:
    if keys & set(table):
        yield (name,), table
        return
    for key, value in table.items():
        if isinstance(value, dict):
            yield from (((name, *path), below) for path, below in _like(key, value, keys))


def _join_dotted_names(section: str, keys: set[str], document: Table, found: Findings) -> None:
    """`[routes.user.name]` makes a table `name` in the route `user`."""
    for _, table in _tables(document, section):
        for path, value in list(_subtables(table, keys)):
            joined = "-".join(path)
            text = f"a name has no dots: write [{place((section, joined))}]"
            found.error((section, *path), text)
            outer = table[path[0]]
            outer.pop(path[1], None)
            if not outer:
                del table[path[0]]
            table.setdefault(joined, value)


def _lift_keys_of_routes(document: Table, found: Findings) -> None:
    """`deliver` below `[routes.u.match]` is a key of `match`."""
    own = set(RouteTable.model_fields) - {"match"}
    for name, route in _tables(document, "routes", "*"):
        for header in ("match", "failover_after"):
            for _, table in _tables(route, header):
                path: Path = (*name, header)
                for key in [key for key in table if key in own]:
                    text = f'"{key}" belongs to the route; write it above [{place(path)}]'
                    found.error((*path, key), text)
                    route.setdefault(key, table.pop(key))


def _lower_matchers(document: Table, found: Findings) -> None:
    """`exact = [...]` in a route is a key of its `match`."""
    for name, route in _tables(document, "routes", "*"):
        for key in [key for key in route if key in SHIPPED]:
            found.error((*name, key), f"write match.{key} = ...")
            match = route.setdefault("match", {})
            if isinstance(match, dict):
                match.setdefault(key, route[key])
            del route[key]
