"""From files to a configuration in use: waypost.toml, secrets, and the key of the route addresses.

Owns all reading of files for the configuration. Nothing that exists at run time only is needed for
`load`, so that `waypost check` runs anywhere; without secrets, `waypost explain` runs as any user.
`route_key` is for the daemon.

Promises: what cannot be read is a `ConfigError` in words, never an OSError.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from waypost import tls
from waypost.config import Config, ConfigError, Problem, parse_toml, read
from waypost.plugins import Plugins
from waypost.resolver import Resolver
from waypost.route import Tls, TlsPolicy

KEY_FILE = "route.key"
"""In `state`: what the MACs of route addresses are made with. A new one orphans queued mail."""
KEY_BYTES = 32
LONGEST_SECRET = 4096
"""In bytes."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and the resolver that works by it."""

    config: Config
    resolver: Resolver


def load(path: Path, plugins: Plugins, *, with_secrets: bool = True) -> Loaded:
    """Read the configuration at `path`. Raises ConfigError with everything that is wrong.

    With secrets, the files that relays name are read as well, and must be what they should be.
    Plugins with problems are refused before the file is read: it would seem wrong for want of them.
    Blocks on the disk and on matchers that compile: who has an event loop calls it in a thread.
    """
    if plugins.problems:
        raise ConfigError(Problem(each.plugin, each.text) for each in plugins.problems)
    files = SecretFiles() if with_secrets else None
    config = read(parse_toml(_read_text(path)), plugins.matchers, files)
    return Loaded(config, Resolver(config.domains, config.matchers, config.next_hops))


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _unreadable("there is no such file; --config or WAYPOST_CONFIG names one") from None
    except OSError as error:
        raise _unreadable(f"cannot be read: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _unreadable(f"line {line} is not UTF-8, as TOML must be") from None


def _unreadable(text: str) -> ConfigError:
    return ConfigError([Problem("", text)])


class SecretFiles:
    """The files that relays name, as `waypost.config.Files` wants them read."""

    def secret(self, path: str) -> str:
        """The one line that the file holds. Raises ValueError."""
        content = _read_private(path)
        try:
            password = content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8") from None
        if not password:
            raise ValueError(f"{path} is empty; the password belongs there")
        if len(content) > LONGEST_SECRET or not password.isprintable():
            raise ValueError(f"{path} must hold one line, the password, and nothing else")
        return password

    def check_ca_file(self, path: str) -> None:
        """Raises ValueError."""
        tls.make_context(Tls(TlsPolicy.VERIFY, ca_file=path))

    def check_client_cert(self, cert: str, key: str | None) -> None:
        """Raises ValueError."""
        _read_private(cert if key is None else key)
        tls.make_context(Tls(TlsPolicy.REQUIRE, client_cert=cert, client_key=key))


def _read_private(path: str) -> bytes:
    """The content of a file, or more of it than a secret may have. Raises ValueError, also when
    every user may read it.

    Its group may: then a service reads what it cannot change.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LONGEST_SECRET + 1)
    except PermissionError:
        text = f"cannot be read by this user (uid {os.geteuid()}), as waypost serve has to"
        raise ValueError(f"{path} {text}; chown it to the user that serve runs as") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if mode & stat.S_IRWXO:
        raise ValueError(f"{path} is open to every user; chmod 600 {path}")
    return content


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
