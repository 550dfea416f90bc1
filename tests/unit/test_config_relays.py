"""What a relay is once it is read, and what is asked of the files that it names."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.unit.fake_matchers import word
from waypost.config import Config, ConfigError, parse_toml, read
from waypost.config.relays import Files
from waypost.route import Login, NextHop, Tls, TlsPolicy

TOML = """
    domains = ["mydomain.net"]
    [routes.user1]
    match.word = ["user1"]
    deliver = ["user1@gmail.com"]
    [relays.improvmx]
"""


@dataclass
class FakeFiles:
    """Files that hold what the test says."""

    secrets: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    """By path: what is wrong with it."""
    asked: list[str] = field(default_factory=list)

    def secret(self, path: str) -> str:
        self._look_at(path)
        return self.secrets[path]

    def check_ca_file(self, path: str) -> None:
        self._look_at(path)

    def check_client_cert(self, cert: str, key: str | None) -> None:
        self._look_at(f"{cert} {key}")

    def _look_at(self, path: str) -> None:
        self.asked.append(path)
        if path in self.bad:
            raise ValueError(self.bad[path])


def config(keys: str, files: Files | None = None) -> Config:
    return read(parse_toml(TOML + keys), (word(),), files)  # type: ignore[arg-type]


def relay(keys: str, files: Files | None = None) -> NextHop:
    return config(keys, files).next_hops.relays["improvmx"]


def problems(keys: str, files: Files | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(keys, files)
    return [str(problem) for problem in caught.value.problems]


LOGIN = """
    username = "user1"
    password_file = "/etc/waypost/secret"
"""


@pytest.mark.parametrize(
    ("keys", "policy"),
    [
        ('url = "smtp://relay.example"', TlsPolicy.OPPORTUNISTIC),
        ('url = "smtp://relay.example"\ntls = "opportunistic"', TlsPolicy.OPPORTUNISTIC),
        ('url = "smtp://relay.example"\ntls = "require"', TlsPolicy.REQUIRE),
        ('url = "smtp://relay.example"\ntls = "verify"', TlsPolicy.VERIFY),
        ('url = "smtp://relay.example"\ntls = "never"', TlsPolicy.NEVER),
        # In TLS from the start, and with a password, there is no plaintext to go on in.
        ('url = "smtps://relay.example"', TlsPolicy.REQUIRE),
        ('url = "smtps://relay.example"\ntls = "opportunistic"', TlsPolicy.REQUIRE),
        ('url = "smtps://relay.example"\ntls = "verify"', TlsPolicy.VERIFY),
        ('url = "smtp://relay.example"' + LOGIN, TlsPolicy.REQUIRE),
        ('url = "smtp://192.0.2.1"\ntls = "opportunistic"' + LOGIN, TlsPolicy.REQUIRE),
        ('url = "smtp://127.0.0.1"' + LOGIN, TlsPolicy.OPPORTUNISTIC),
        ('url = "smtp://[::1]"' + LOGIN, TlsPolicy.OPPORTUNISTIC),
        ('url = "smtp://localhost"\ntls = "never"' + LOGIN, TlsPolicy.NEVER),
    ],
)
def test_the_policy_of_a_relay(keys: str, policy: TlsPolicy) -> None:
    assert relay(keys).tls.policy is policy


def test_all_keys_of_a_relay() -> None:
    files = FakeFiles(secrets={"/etc/waypost/secret": "pass word"})
    found = relay(
        """
        url = "smtps://relay.example"
        tls = "verify"
        ca_file = "/etc/waypost/ca.pem"
        client_cert = "/etc/waypost/client.pem"
        client_key = "/etc/waypost/client.key"
        """
        + LOGIN,
        files,
    )
    assert found == NextHop(
        "relay.example",
        465,
        "improvmx",
        Tls(
            TlsPolicy.VERIFY,
            True,
            "/etc/waypost/ca.pem",
            "/etc/waypost/client.pem",
            "/etc/waypost/client.key",
        ),
        Login("user1", "pass word"),
    )
    assert files.asked == [
        "/etc/waypost/ca.pem",
        "/etc/waypost/client.pem /etc/waypost/client.key",
        "/etc/waypost/secret",
    ]


def test_a_password_is_not_shown() -> None:
    files = FakeFiles(secrets={"/etc/waypost/secret": "pass word"})
    shown = repr(config('url = "smtps://relay.example"' + LOGIN, files))
    assert "user1" in shown
    assert "pass word" not in shown


def test_every_file_that_is_wrong_is_told() -> None:
    files = FakeFiles(bad={"/s": "no password", "/ca": "no CA", "/cert None": "no certificate"})
    assert problems(
        """
        url = "smtp://relay.example"
        tls = "verify"
        ca_file = "/ca"
        client_cert = "/cert"
        username = "user1"
        password_file = "/s"
        """,
        files,
    ) == [
        "relays.improvmx.ca_file: no CA",
        "relays.improvmx.client_cert: no certificate",
        "relays.improvmx.password_file: no password",
    ]


def test_without_files_none_is_looked_at() -> None:
    assert relay('url = "smtps://relay.example"' + LOGIN).login == Login("user1", "")


def test_a_key_that_is_wrong_is_not_missed_as_well() -> None:
    told = problems("""
        url = "smtp://relay.example"
        tls = "verfy"
        ca_file = "/ca"
        username = 1
        password_file = "/secret"
        client_cert = "client.pem"
        client_key = "/client.key"
    """)
    assert [problem.partition(": ")[0] for problem in told] == [
        "relays.improvmx.tls",
        "relays.improvmx.client_cert",
        "relays.improvmx.username",
    ]


def test_the_port_of_tls_from_the_start_without_it_is_a_warning() -> None:
    assert [str(each) for each in config('url = "smtp://relay.example:465"').warnings] == [
        "relays.improvmx.url: warning: port 465 is for TLS from the start, which is written smtps://"
    ]
