"""The plugin contract: what a plugin may offer, and what its rules are checked against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pluggy
import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError

from waypost import hookspecs
from waypost.address import Address
from waypost.events import Event, Resolved
from waypost.hookspecs import (
    CONTRACT,
    AddressRule,
    Compiled,
    DomainRule,
    Hit,
    Hooks,
    Matcher,
    Report,
    hookimpl,
)


def manager() -> pluggy.PluginManager:
    made = pluggy.PluginManager("waypost")
    made.add_hookspecs(Hooks)
    return made


def compile_nothing(rules: Sequence[object], report: Report) -> Compiled:
    del rules, report
    return Compiled(lambda _: ())


class Plugin:
    def __init__(self) -> None:
        self.told: list[Event] = []

    @hookimpl
    def matchers(self) -> Iterable[Matcher[object]]:
        return [Matcher("mine", 500, AddressRule, compile_nothing)]

    @hookimpl
    def observe(self, event: Event) -> None:
        self.told.append(event)


def test_a_plugin_offers_matchers_and_is_told_of_events() -> None:
    plugins, plugin = manager(), Plugin()
    plugins.register(plugin)
    plugins.check_pending()
    ((matcher,),) = plugins.hook.matchers()
    assert (matcher.name, matcher.precedence) == ("mine", 500)
    event = Resolved(0.0, "user1@mydomain.net", "routed", "user1")
    plugins.hook.observe(event=event)
    assert plugin.told == [event]


def test_a_misspelt_hook_is_none_of_ours() -> None:
    class Misspelt:
        @hookimpl
        def matcher(self) -> Iterable[Matcher[object]]:
            return []

    plugins = manager()
    plugins.register(Misspelt())
    with pytest.raises(pluggy.PluginValidationError, match="unknown hook 'matcher'"):
        plugins.check_pending()


def test_there_are_two_hooks_and_each_is_described() -> None:
    marked = {name for name in vars(Hooks) if hasattr(getattr(Hooks, name), "waypost_spec")}
    assert marked == {"matchers", "observe"}
    assert all(getattr(Hooks, name).__doc__ for name in marked)


def test_the_contract_has_a_number() -> None:
    # A plugin states it; a change of it breaks every plugin there is.
    assert CONTRACT == 1


@pytest.mark.parametrize("name", ["Hit", "Compiled", "Matcher"])
def test_what_passes_between_plugin_and_core_is_frozen(name: str) -> None:
    # Matchers run in threads and are asked side by side.
    assert getattr(hookspecs, name).__dataclass_params__.frozen


def test_a_hit_has_fields_of_its_own() -> None:
    assert Hit(0).fields == {}
    assert Hit(0).fields is not Hit(1).fields


def rules(of: object, *values: object) -> list[object]:
    """`values` as `config` validates the rules of a matcher."""
    adapter: TypeAdapter[list[object]] = TypeAdapter(
        list[of],  # type: ignore[valid-type]  # known at run time only, as in config
        config=ConfigDict(extra="forbid"),
    )
    return adapter.validate_python(list(values))


def test_an_address_rule_is_an_address() -> None:
    assert rules(AddressRule, "User1@MyDomain.net", '"a b"@Bücher.de') == [
        Address("User1", "mydomain.net"),
        Address("a b", "xn--bcher-kva.de"),
    ]
    assert rules(AddressRule, Address("a", "b")) == [Address("a", "b")]


def test_a_domain_rule_is_a_canonical_domain() -> None:
    assert rules(DomainRule, "MyDomain.net", "Bücher.de.") == ["mydomain.net", "xn--bcher-kva.de"]


@pytest.mark.parametrize(
    "value",
    ["user1", "", 5, True, None, ["user1@mydomain.net"], {"local": "a\nb", "domain": "X Y"}],
    ids=repr,
)
@pytest.mark.parametrize("rule", [AddressRule, DomainRule], ids=["address", "domain"])
def test_what_is_no_rule_is_an_error_for_the_operator(rule: object, value: object) -> None:
    if rule is DomainRule and value == "user1":
        return
    with pytest.raises(ValidationError):
        rules(rule, value)


def test_an_address_rule_serialises_to_what_is_written() -> None:
    adapter: TypeAdapter[Address] = TypeAdapter(AddressRule)
    assert adapter.dump_python(Address("a b", "x.de")) == '"a b"@x.de'
