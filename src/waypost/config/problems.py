"""What is wrong with a configuration, said so that its reader can mend it.

Owns `Problem`, the places that problems name (`routes.user1.match.regex[0]`), suggestions for
misspelt words, and the translation of pydantic's errors into words about TOML.

Promises: a place can be looked up in the file as it is written; a text names the thing and, where
there is one, the remedy.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Closer = Callable[[], Awaitable[None]]
Path = tuple[str | int, ...]
"""Keys and indexes from the top of the document down."""

_LONGEST_SHOWN = 200
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, or one thing that may not have been meant."""

    where: str
    """The key, as a dotted path; empty when the file as a whole is meant."""
    text: str
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        parts = (self.where, "warning" if self.level == "warning" else "", self.text)
        return ": ".join(filter(None, parts))


class ConfigError(Exception):
    """A configuration that cannot be used. `problems` holds all that was found, warnings too."""

    def __init__(self, problems: Iterable[Problem], closers: Iterable[Closer] = ()) -> None:
        self.problems = tuple(problems)
        self.closers = tuple(closers)
        """Of matchers that were compiled before an error was found; whoever goes on awaits them."""
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True)
class Findings:
    """Collects problems while a document is read."""

    problems: list[Problem] = field(default_factory=list)

    def error(self, path: Path, text: str) -> None:
        """The configuration cannot be used."""
        self._add(Problem(_printable(place(path)), _printable(text)))

    def warning(self, path: Path, text: str) -> None:
        """It can be used, though perhaps not as it was meant."""
        self._add(Problem(_printable(place(path)), _printable(text), "warning"))

    def _add(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    @property
    def fatal(self) -> bool:
        """Whether there is an error among them."""
        return any(problem.level == "error" for problem in self.problems)


def _printable(text: str) -> str:
    """`text` on one line, where it repeats what the file holds: the rest of Unicode is escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def place(path: Path) -> str:
    """`path` as one would write it: `next_hops."gmail.com"`, `routes.user1.deliver[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _BARE_KEY.match(step) else json.dumps(step, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "regex"?` when a known word is close to `word`, else nothing."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def shape_problem(
    details: ErrorDetails, path: Path, raw: object, known: Sequence[str], skip: int = 0
) -> tuple[Path, str]:
    """Place and text for one error that pydantic found in `raw`, the value at `path`.

    `known` are the keys that a misspelt one may have been meant for; `skip` steps of pydantic's
    location lead to `raw`.
    """
    steps = tuple(_existing(details["loc"][skip:], raw))
    kind, value = details["type"], details["input"]
    if kind == "missing":
        return (*path, *steps, details["loc"][-1]), "this key is required"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):  # the latter of dataclasses
        key = str(details["loc"][-1])
        return (*path, *steps), f'unknown key "{key}"{did_you_mean(key, known)}'
    if kind == "value_error":
        return (*path, *steps), str(details["ctx"]["error"])
    if kind == "literal_error":
        return (*path, *steps), _no_choice(value, details["ctx"]["expected"])
    return (*path, *steps), _wrong_shape(kind, value, details["msg"])


def _existing(location: Iterable[str | int], raw: object) -> Iterator[str | int]:
    """The part of pydantic's location that is there in the file; the rest is steps of its own."""
    for step in location:
        match raw:
            case Mapping() if step in raw:
                raw = raw[step]
            case list() if isinstance(step, int) and step < len(raw):
                raw = raw[step]
            case _:
                return
        yield step


def _no_choice(value: object, expected: str) -> str:
    choices = [f'"{choice}"' for choice in re.findall(r"'([^']*)'", expected)]
    told = " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    return f"{show(value)} is not possible here; choose {told}"


def _wrong_shape(kind: str, value: object, message: str) -> str:
    if kind == "string_type":
        single = value[0] if isinstance(value, list) and len(value) == 1 else None
        hint = f"; write {show(single)} without brackets" if isinstance(single, str) else ""
        return f"a string in quotes is wanted here, not {_name(value)}{hint}"
    if kind == "list_type":
        hint = ""
        if isinstance(value, str | dict):
            each = re.split(r"[,;]\s*", value) if isinstance(value, str) else [value]
            hint = f"; write {show(each)}"
        return f"a list is wanted here, not {_name(value)}{hint}"
    if kind in ("model_type", "dict_type", "dataclass_type", "model_attributes_type"):
        several = isinstance(value, list) and value and isinstance(value[0], Mapping)
        hint = "; write its [header] in single brackets" if several else ""
        if isinstance(value, str) and "://" in value:
            hint = f"; write {{ url = {show(value)} }}"
        return f"a table is wanted here, not {_name(value)}{hint}"
    return message[:1].lower() + message[1:]


def show(value: object) -> str:
    """A value on one line, much as TOML writes it, and no more of it than a person reads."""
    text = written(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def written(value: object) -> str:
    """A value on one line, much as TOML writes it."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case Mapping():
            inner = ", ".join(
                f"{place((str(key),))} = {written(each)}" for key, each in value.items()
            )
            return f"{{ {inner} }}"
        case list():
            return f"[{', '.join(map(written, value))}]"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def _name(value: object) -> str:
    match value:
        case str():
            return "a string"
        case list():
            return "a list"
        case Mapping():
            return "a table"
        case bool():
            return str(value).lower()
        case int() | float():
            return "a number"
        case _:
            return "a date or time"
