"""The files that relays name: read at load, by nobody else, and told in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import authority
from tests.unit.fake_matchers import word
from waypost.config import ConfigError
from waypost.load import SecretFiles, load
from waypost.plugins import Plugins
from waypost.route import Login

NOBODY = 65534


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "relay.secret"
    path.write_text("pass wörd\n")
    path.chmod(0o600)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=str(path)) as caught:
        SecretFiles().secret(str(path))
    return str(caught.value).replace(str(path), "FILE")


@contextmanager
def as_nobody() -> Iterator[None]:
    """As a user who may read nothing here; who runs the tests may be one already."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.mark.parametrize(
    ("content", "password"),
    [
        ("pass wörd\n", "pass wörd"),
        ("pass wörd\r\n", "pass wörd"),
        ("pass wörd", "pass wörd"),
        (" spaces belong to it \n", " spaces belong to it "),
    ],
)
def test_the_end_of_the_line_is_not_part_of_the_password(
    secret: Path, content: str, password: str
) -> None:
    secret.write_bytes(content.encode())
    assert SecretFiles().secret(str(secret)) == password


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_what_every_user_may_read_is_no_secret(secret: Path, mode: int) -> None:
    secret.chmod(mode)
    assert refusal(secret) == "FILE is open to every user; chmod 600 FILE"


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_group_may_read_it(secret: Path, mode: int) -> None:
    secret.chmod(mode)
    assert SecretFiles().secret(str(secret)) == "pass wörd"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "FILE is empty; the password belongs there"),
        (b"\n", "FILE is empty; the password belongs there"),
        (b"one\ntwo\n", "FILE must hold one line, the password, and nothing else"),
        (b"one\0two\n", "FILE must hold one line, the password, and nothing else"),
        (b"x" * 5000, "FILE must hold one line, the password, and nothing else"),
        (b"\xfc", "FILE is not UTF-8"),
    ],
)
def test_what_is_no_password(secret: Path, content: bytes, told: str) -> None:
    secret.write_bytes(content)
    assert refusal(secret) == told


def test_what_this_user_may_not_read(secret: Path) -> None:
    secret.chmod(0)
    with as_nobody():
        user = os.geteuid()
        told = refusal(secret)
    assert told == (
        f"FILE cannot be read by this user (uid {user}), as waypost serve has to; "
        "chown it to the user that serve runs as"
    )


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "FILE: Is a directory"
    assert refusal(tmp_path / "none") == "FILE: No such file or directory"


def test_a_private_key_is_a_secret_too(tmp_path: Path) -> None:
    cert, key = authority().write_client_cert(tmp_path)
    SecretFiles().check_client_cert(str(cert), str(key))
    key.chmod(0o644)
    with pytest.raises(ValueError, match=f"chmod 600 {key}"):
        SecretFiles().check_client_cert(str(cert), str(key))
    with pytest.raises(ValueError, match=f"chmod 600 {cert}"):
        SecretFiles().check_client_cert(str(cert), None)


def test_an_authority_is_no_secret(tmp_path: Path) -> None:
    path = authority().write_ca(tmp_path)
    path.chmod(0o644)
    SecretFiles().check_ca_file(str(path))


def test_a_configuration_is_loaded_with_its_secrets_or_without(
    tmp_path: Path, secret: Path
) -> None:
    file = tmp_path / "waypost.toml"
    file.write_text(f"""
        domains = ["mydomain.net"]
        [relays.improvmx]
        url = "smtps://smtp.improvmx.com"
        username = "user1"
        password_file = "{secret}"
        [routes.user1]
        match.word = ["user1"]
        deliver = [{{ to = "user1@gmail.com", via = "improvmx" }}]
    """)
    plugins = Plugins(matchers=(word(),))  # type: ignore[arg-type]
    with_secrets, without = load(file, plugins), load(file, plugins, with_secrets=False)
    assert with_secrets.config.next_hops.relays["improvmx"].login == Login("user1", "pass wörd")
    assert without.config.next_hops.relays["improvmx"].login == Login("user1", "")
    secret.unlink()
    load(file, plugins, with_secrets=False)
    with pytest.raises(ConfigError, match=r"relays\.improvmx\.password_file: .*No such file"):
        load(file, plugins)
