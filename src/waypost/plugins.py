"""Finding plugins, holding them to the contract, and running their observers.

Owns the walk over the entry points of the group `waypost`, the checks that pluggy does not make,
and a thread per observing plugin. pluggy checks signatures and calls hooks; each plugin has a
manager of its own, since in a joint call the first that raises silences the rest.

Promises: a plugin that cannot be used is named with a reason and harms no other; `observe` returns
at once, whatever a plugin does.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Protocol, get_origin

import pluggy
import structlog

from waypost.events import Event
from waypost.hookspecs import CONTRACT, Hooks, Matcher

GROUP = "waypost"
"""The group of entry points that plugins are announced in; also pluggy's name for the project."""
QUEUE_LENGTH = 10_000
"""Events that wait for one observer; more are dropped."""
CLOSE_SECONDS = 5.0
"""How long `Observers.close` waits for each observer to come to the end of its queue."""

_HOOKS = ("matchers", "observe")
_MATCHER_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PluginProblem:
    """Why a plugin cannot be used."""

    plugin: str
    """Its entry point, and the distribution that announces it."""
    text: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a matcher comes from."""

    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class Plugins:
    """The plugins of this installation."""

    matchers: tuple[Matcher[object], ...] = ()
    """By precedence."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """By matcher."""
    observers: Mapping[str, Observe] = field(default_factory=dict)
    """By plugin."""
    problems: tuple[PluginProblem, ...] = ()
    """When there is one, Waypost does not start: mail might go another way than configured."""


class Observe(Protocol):
    """One plugin's hook `observe`."""

    def __call__(self, *, event: Event) -> object: ...


class _Refused(Exception):
    """This plugin cannot be used; the message says why."""


def load_plugins() -> Plugins:
    """Load every installed plugin. What is wrong with one ends up in `problems`."""
    return load_entry_points(entry_points(group=GROUP))


def load_entry_points(found: Iterable[EntryPoint]) -> Plugins:
    """Load the plugins that `found` announces."""
    announced = sorted(found, key=lambda point: (point.name, _origin(point).distribution))
    times = Counter(point.name for point in announced)
    matchers: dict[str, Matcher[object]] = {}
    origins: dict[str, Origin] = {}
    observers: dict[str, Observe] = {}
    problems: list[PluginProblem] = []
    for point in announced:
        try:
            if times[point.name] > 1:
                raise _Refused("another plugin has the same name; uninstall one of them")
            manager = _register(point)
            for matcher in _matchers(manager):
                if matcher.name in matchers:
                    other = origins[matcher.name].distribution
                    raise _Refused(f'{other} has a matcher "{matcher.name}" already')
                matchers[matcher.name] = matcher
                origins[matcher.name] = _origin(point)
            if manager.hook.observe.get_hookimpls():
                observers[point.name] = manager.hook.observe
        except _Refused as error:
            problems.append(PluginProblem(_describe(point), str(error)))
    by_precedence = sorted(matchers.values(), key=lambda each: (each.precedence, each.name))
    return Plugins(tuple(by_precedence), origins, observers, tuple(problems))


def _origin(point: EntryPoint) -> Origin:
    # An entry point made by hand belongs to no distribution.
    return Origin(point.dist.name, point.dist.version) if point.dist else Origin(point.value, "")


def _describe(point: EntryPoint) -> str:
    origin = _origin(point)
    return f'plugin "{point.name}" of {origin.distribution} {origin.version}'.rstrip()


def _register(point: EntryPoint) -> pluggy.PluginManager:
    try:
        module = point.load()
    except Exception as error:
        raise _Refused(f"cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(module, ModuleType):
        raise _Refused(f"{point.value} is no module; the entry point names the plugin's module")
    contract = getattr(module, "waypost_contract", None)
    if contract is None:
        raise _Refused(f"lacks waypost_contract = {CONTRACT}")
    if contract != CONTRACT:
        raise _Refused(
            f"is written for contract {contract}, and this Waypost has {CONTRACT}; "
            "another version of one of them may fit"
        )
    _check_hooks(module)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    try:
        manager.register(module, name=point.name)
    except pluggy.PluginValidationError as error:
        raise _Refused(str(error)) from error
    return manager


def _check_hooks(module: ModuleType) -> None:
    """Refuse what pluggy would pass over in silence: a hook without its mark or of another name."""
    functions = dict(inspect.getmembers(module, inspect.isfunction))
    marked = {name: _hook_name(function) for name, function in functions.items()}
    for name, hook in marked.items():
        if hook is not None and hook not in _HOOKS:
            raise _Refused(f'there is no hook "{hook}"{_did_you_mean(hook)}')
        own = functions[name].__module__ == module.__name__
        if hook is None and name in _HOOKS and own:
            raise _Refused(f'its function "{name}" is named like a hook and lacks @hookimpl')
    if not any(marked.values()):
        close = next(filter(None, map(_did_you_mean, functions)), "")
        raise _Refused(f"implements no hook; there are {' and '.join(_HOOKS)}{close}")


def _hook_name(function: Callable[..., object]) -> str | None:
    """The hook that a function is marked to implement."""
    options = getattr(function, f"{GROUP}_impl", None)
    return (options.get("specname") or function.__name__) if isinstance(options, dict) else None


def _did_you_mean(word: str) -> str:
    close = get_close_matches(word, _HOOKS, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _matchers(manager: pluggy.PluginManager) -> Sequence[Matcher[object]]:
    """What the plugin in `manager` offers."""
    try:
        offered = [each for result in manager.hook.matchers() for each in result]
    except Exception as error:
        raise _Refused(f"matchers() raised {type(error).__name__}: {error}") from error
    for matcher in offered:
        _check_matcher(matcher)
    names = [matcher.name for matcher in offered]
    for name in names:
        if names.count(name) > 1:
            raise _Refused(f'offers two matchers "{name}"')
    return offered


def _check_matcher(matcher: object) -> None:
    if not isinstance(matcher, Matcher):
        raise _Refused(f"matchers() gave {type(matcher).__name__}, not Matcher")
    name: object = matcher.name
    if not isinstance(name, str) or not _MATCHER_NAME.match(name):
        raise _Refused(f"{name!r} is no name for a matcher: lower-case letters, digits and _")
    if not isinstance(matcher.precedence, int):
        raise _Refused(f'the precedence of "{name}" is {matcher.precedence!r}, not a number')
    if matcher.rule is list or get_origin(matcher.rule) is list:
        raise _Refused(f'the rule of "{name}" is a list; one bare rule could not be told from it')
    if not callable(matcher.compile):
        raise _Refused(f'the compile of "{name}" is no function')


class Observers:
    """Tells observing plugins of events, each in a thread of its own. `close` it at the end."""

    def __init__(self, plugins: Plugins, queue_length: int = QUEUE_LENGTH) -> None:
        self._observers = [
            _Observer(name, observe, queue_length) for name, observe in plugins.observers.items()
        ]

    def observe(self, event: Event) -> None:
        """Pass `event` on. Returns at once; to an observer whose queue is full it is lost."""
        for observer in self._observers:
            observer.put(event)

    @property
    def dropped(self) -> dict[str, int]:
        """How many events each plugin has missed because it was too slow."""
        return {observer.name: observer.dropped for observer in self._observers}

    def close(self) -> None:
        """Take no more events, and give every observer some time to see those that wait."""
        for observer in self._observers:
            observer.close()
        for observer in self._observers:
            observer.join()


class _Observer:
    """One plugin's queue and thread."""

    def __init__(self, name: str, observe: Observe, queue_length: int) -> None:
        self.name = name
        self.dropped = 0
        self._observe = observe
        self._queue_length = queue_length
        self._events: deque[Event] = deque()
        self._closed = False
        self._changed = threading.Condition()
        # A plugin that hangs must not keep the daemon from going down.
        self._thread = threading.Thread(target=self._run, name=f"observer-{name}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Queue an event, or count it as dropped."""
        with self._changed:
            if self._closed:
                return
            if len(self._events) < self._queue_length:
                self._events.append(event)
                self._changed.notify()
                return
            self.dropped += 1
            first = self.dropped == 1
        if first:
            _log.warning("observer_too_slow", plugin=self.name, queue_length=self._queue_length)

    def close(self) -> None:
        """The thread ends when the queue is empty."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def join(self) -> None:
        """Wait for the thread, `CLOSE_SECONDS` at most."""
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            _log.warning("observer_left_behind", plugin=self.name, events=len(self._events))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._closed)
                if not self._events:
                    return
                event = self._events.popleft()
            try:
                self._observe(event=event)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                _log.error("observer_failed", plugin=self.name, error=reason)
