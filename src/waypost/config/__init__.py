"""The configuration: from what an operator wrote to frozen values.

Owns the reading of waypost.toml: its shape (`tables`), its meaning (`build`, `relays`, `routes`,
`rules`), the traps of TOML (`traps`), what is refused for now (`not_yet`), and the words for every
mistake (`problems`). `read(parse_toml(text), matchers)` gives a `Config` or raises `ConfigError`
with all problems at once. Pure: files are read by `waypost.load`, which hands over `Files`.
"""

from waypost.config.build import read
from waypost.config.model import Config, Outgoing
from waypost.config.problems import ConfigError, Problem
from waypost.config.relays import Files
from waypost.config.traps import parse_toml
from waypost.config.values import Listen

__all__ = ["Config", "ConfigError", "Files", "Listen", "Outgoing", "Problem", "parse_toml", "read"]
