"""Loading plugins, and observers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.fake_matchers import word
from waypost.events import Event, Resolved
from waypost.hookspecs import Matcher, hookimpl
from waypost.plugins import Observers, Plugins, load_entry_points, load_plugins
from waypost.testing.waiting import wait_until

PREFIX = "waypost_test_plugin_"
EVENT = Resolved(0.0, "user1@mydomain.net", "routed", "user1")


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]


def plugin(name: str, /, **contents: object) -> EntryPoint:
    """An installed plugin: a module with these contents, and the contract's number if not told."""
    module = ModuleType(f"{PREFIX}{name}")
    for key, value in {"waypost_contract": 1, **contents}.items():
        if callable(value):
            value.__module__ = module.__name__
        setattr(module, key, value)
    sys.modules[module.__name__] = module
    return EntryPoint(name, module.__name__, "waypost")


def offering(*offered: Matcher[Any]) -> Any:
    @hookimpl
    def matchers() -> Iterable[Matcher[Any]]:
        return offered

    return matchers


def refusals(*points: EntryPoint) -> list[str]:
    return [problem.text for problem in load_entry_points(points).problems]


def test_the_matchers_that_come_with_waypost_are_found() -> None:
    plugins = load_plugins()
    assert plugins.problems == ()
    assert [(matcher.name, matcher.precedence) for matcher in plugins.matchers] == [
        ("exact", 100),
        ("plus", 200),
        ("subdomain", 300),
        ("regex", 400),
        ("catch_all", 900),
    ]
    assert plugins.origins["catch_all"].distribution == "waypost-catch-all"
    assert plugins.origins["catch_all"].version


def test_matchers_come_by_precedence() -> None:
    late, early = word("late", 9), word("early", 1)
    plugins = load_entry_points(
        [plugin("a", matchers=offering(late)), plugin("b", matchers=offering(early))]
    )
    assert plugins.matchers == (early, late)
    assert plugins.origins["late"].distribution == f"{PREFIX}a"
    assert plugins.problems == ()


def test_what_cannot_be_imported_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{PREFIX}syntax.py").write_text("def matchers(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins = load_entry_points(
        [
            EntryPoint("absent", f"{PREFIX}absent", "waypost"),
            EntryPoint("syntax", f"{PREFIX}syntax", "waypost"),
            plugin("word", matchers=offering(word())),
        ]
    )
    assert [matcher.name for matcher in plugins.matchers] == ["word"]
    absent, syntax = plugins.problems
    assert absent.plugin == f'plugin "absent" of {PREFIX}absent'
    assert absent.text.startswith("cannot be imported: ModuleNotFoundError: ")
    assert syntax.text.startswith("cannot be imported: SyntaxError: ")


def test_a_plugin_is_a_module() -> None:
    point = plugin("word", matchers=offering(word()))
    (told,) = refusals(EntryPoint("word", f"{point.value}:matchers", "waypost"))
    assert "is no module" in told


def test_the_contract_is_stated() -> None:
    point = plugin("old")
    del sys.modules[point.value].waypost_contract
    assert refusals(point) == ["lacks waypost_contract = 1"]
    (told,) = refusals(plugin("new", waypost_contract=2))
    assert told.startswith("is written for contract 2, and this Waypost has 1")


def test_two_plugins_of_one_name_are_both_refused() -> None:
    first = plugin("word", matchers=offering(word("first")))
    second = plugin("other", matchers=offering(word("second")))
    plugins = load_entry_points([first, EntryPoint("word", second.value, "waypost")])
    assert plugins.matchers == ()
    assert [each.plugin for each in plugins.problems] == [
        f'plugin "word" of {PREFIX}other',
        f'plugin "word" of {PREFIX}word',
    ]
    assert {each.text for each in plugins.problems} == {
        "another plugin has the same name; uninstall one of them"
    }


def test_two_matchers_of_one_name() -> None:
    assert refusals(
        plugin("a", matchers=offering(word())), plugin("b", matchers=offering(word()))
    ) == [f'{PREFIX}a has a matcher "word" already']
    assert refusals(plugin("c", matchers=offering(word(), word()))) == [
        'offers two matchers "word"'
    ]


def test_hooks_that_pluggy_would_pass_over() -> None:
    @hookimpl
    def matcher() -> list[Matcher[Any]]:
        return []

    @hookimpl(specname="obsrve")
    def watch(event: Event) -> None: ...

    def matchers() -> list[Matcher[Any]]:
        return []

    def observer() -> None: ...

    assert refusals(plugin("misspelt", matcher=matcher)) == [
        'there is no hook "matcher"; did you mean "matchers"?'
    ]
    assert refusals(plugin("renamed", watch=watch)) == [
        'there is no hook "obsrve"; did you mean "observe"?'
    ]
    assert refusals(plugin("unmarked", matchers=matchers)) == [
        'its function "matchers" is named like a hook and lacks @hookimpl'
    ]
    assert refusals(plugin("none", helper=lambda: None)) == [
        "implements no hook; there are matchers and observe"
    ]
    assert refusals(plugin("neither", observer=observer)) == [
        'implements no hook; there are matchers and observe; did you mean "observe"?'
    ]


def test_a_function_of_another_module_may_have_any_name() -> None:
    def observe() -> None: ...

    point = plugin("word", matchers=offering(word()))
    sys.modules[point.value].observe = observe  # type: ignore[attr-defined]
    assert refusals(point) == []


def test_a_hook_with_another_signature() -> None:
    @hookimpl
    def observe(event: Event, more: int) -> None: ...

    (told,) = refusals(plugin("more", observe=observe))
    assert "'more'" in told


def test_a_hook_that_raises() -> None:
    @hookimpl
    def matchers() -> list[Matcher[Any]]:
        raise RuntimeError("no licence")

    plugins = load_entry_points(
        [plugin("bad", matchers=matchers), plugin("word", matchers=offering(word()))]
    )
    assert [each.text for each in plugins.problems] == [
        "matchers() raised RuntimeError: no licence"
    ]
    assert [matcher.name for matcher in plugins.matchers] == ["word"]


def test_what_is_no_matcher() -> None:
    def matcher(**changed: Any) -> Matcher[Any]:
        good = {"name": "m", "precedence": 1, "rule": str, "compile": lambda _rules, _report: None}
        return Matcher(**{**good, **changed})

    for bad, reason in [
        ("word", "matchers() gave str, not Matcher"),
        (matcher(name="my-matcher"), "'my-matcher' is no name"),
        (matcher(name=5), "5 is no name"),
        (matcher(precedence="first"), "'first', not a number"),
        (matcher(rule=list[str]), "is a list"),
        (matcher(rule=list), "is a list"),
        (matcher(compile=None), "is no function"),
    ]:
        (told,) = refusals(plugin("bad", matchers=offering(bad)))  # type: ignore[arg-type]
        assert reason in told


class Watching:
    """An observing plugin that can be made to wait."""

    def __init__(self, name: str) -> None:
        self.seen: list[Event] = []
        self.threads: set[int] = set()
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.fails = False
        self.point = plugin(name, observe=self._hook())

    def _hook(self) -> Any:
        @hookimpl
        def observe(event: Event) -> None:
            self.begun.set()
            assert self.go_on.wait(10)
            self.threads.add(threading.get_ident())
            if self.fails:
                raise RuntimeError("no disk")
            self.seen.append(event)

        return observe


def observers(*watching: Watching, queue_length: int = 100) -> Observers:
    return Observers(load_entry_points(each.point for each in watching), queue_length)


def test_every_observer_is_told_in_a_thread_of_its_own() -> None:
    a, b = Watching("a"), Watching("b")
    both = observers(a, b)
    both.observe(EVENT)
    both.observe(EVENT)
    both.close()
    assert a.seen == b.seen == [EVENT, EVENT]
    assert len(a.threads) == 1
    assert len(a.threads | b.threads | {threading.get_ident()}) == 3


def test_what_an_observer_is_too_slow_for_is_dropped_and_counted() -> None:
    slow, quick = Watching("slow"), Watching("quick")
    slow.go_on.clear()
    both = observers(slow, quick, queue_length=2)
    with capture_logs() as logs:
        for number in range(1, 6):
            both.observe(EVENT)
            wait_until(slow.begun.is_set, "the slow observer's first event")
            wait_until(lambda: len(quick.seen) == number, "the quick observer")  # noqa: B023
    assert both.dropped == {"quick": 0, "slow": 2}
    slow.go_on.set()
    both.close()
    assert len(slow.seen) == 3
    assert [(each["event"], each["plugin"]) for each in logs] == [("observer_too_slow", "slow")]


def test_what_an_observer_raises_is_logged_and_it_goes_on() -> None:
    failing = Watching("failing")
    failing.fails = True
    one = observers(failing)
    with capture_logs() as logs:
        one.observe(EVENT)
        one.observe(EVENT)
        one.close()
    assert [(each["event"], each["plugin"], each["error"]) for each in logs] == [
        ("observer_failed", "failing", "RuntimeError: no disk")
    ] * 2


def test_after_close_nothing_is_told_any_more() -> None:
    a = Watching("a")
    one = observers(a)
    one.close()
    one.observe(EVENT)
    assert a.seen == []
    assert one.dropped == {"a": 0}


def test_close_leaves_an_observer_that_hangs_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypost.plugins.CLOSE_SECONDS", 0.01)
    hanging = Watching("hanging")
    hanging.go_on.clear()
    one = observers(hanging)
    with capture_logs() as logs:
        one.observe(EVENT)
        one.observe(EVENT)
        wait_until(hanging.begun.is_set, "the first event")
        one.close()
    assert [(each["event"], each["events"]) for each in logs] == [("observer_left_behind", 1)]
    hanging.go_on.set()
    wait_until(lambda: len(hanging.seen) == 2, "both events")


def test_plugins_without_observers_cost_nothing() -> None:
    before = threading.active_count()
    none = Observers(Plugins())
    none.observe(EVENT)
    assert threading.active_count() == before
    none.close()
