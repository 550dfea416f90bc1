"""From files to a configuration in use: waypost.toml, and the key of the route addresses.

Owns all reading of files for the configuration. `load` needs nothing but the file itself, so that
`waypost check` and `waypost explain` run anywhere; `route_key` is for the daemon.

Promises: what cannot be read is a `ConfigError` in words, never an OSError.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from waypost.config import Config, ConfigError, Problem, parse_toml, read
from waypost.plugins import Plugins
from waypost.resolver import Resolver

KEY_FILE = "route.key"
"""In `state`: what the MACs of route addresses are made with. A new one orphans queued mail."""
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and the resolver that works by it."""

    config: Config
    resolver: Resolver


def load(path: Path, plugins: Plugins) -> Loaded:
    """Read the configuration at `path`. Raises ConfigError with everything that is wrong.

    Plugins with problems are refused before the file is read: it would seem wrong for want of them.
    Blocks on the disk and on matchers that compile: who has an event loop calls it in a thread.
    """
    if plugins.problems:
        raise ConfigError(Problem(each.plugin, each.text) for each in plugins.problems)
    config = read(parse_toml(_read_text(path)), plugins.matchers)
    return Loaded(config, Resolver(config.domains, config.matchers, config.next_hops))


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _unreadable("there is no such file; --config or WAYPOST_CONFIG names one") from None
    except OSError as error:
        raise _unreadable(f"cannot be read: {error.strerror}") from None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _unreadable(f"line {line} is not UTF-8, as TOML must be") from None


def _unreadable(text: str) -> ConfigError:
    return ConfigError([Problem("", text)])


def route_key(state: Path, create: bool) -> bytes:
    """The key of the route addresses, kept in `state`; made on first use when `create` is true.

    Raises ConfigError when it cannot be read or made, and when others may read it: who has it can
    write route addresses that are taken for ours.
    """
    path = state / KEY_FILE
    try:
        if create and not path.exists():
            _create_key(path)
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise _bad_key(f"{path}: {error.strerror}") from None
    if mode & 0o077:
        raise _bad_key(f"{path} is open to other users; chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise _bad_key(f"{path} is damaged: it must hold {KEY_BYTES} bytes, not {len(key)}")
    return key


def _bad_key(text: str) -> ConfigError:
    return ConfigError([Problem("state", text)])


def _create_key(path: Path) -> None:
    """Write a new key so that nobody ever sees half of it, and of two daemons one key wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
