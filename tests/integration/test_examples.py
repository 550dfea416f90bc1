"""Every file in examples/ does on real mail what its comment says, by each door."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.conftest import MakeNextHop
from waypost.testing.daemon import Waypost
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.postfix import PrivatePostfix

EXAMPLES = Path(__file__).parents[2] / "examples"
SENDER = "someone@sender.example"
MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"
THROTTLED = "451 4.7.650 temporarily rate limited due to IP reputation"
FULL = "452 4.2.2 over quota"


@pytest.fixture
def example_text(
    postfix: PrivatePostfix, next_hops: Mapping[str, str], tmp_path: Path
) -> Callable[[str], str]:
    """An example as it stands, with this test's sockets and next hops."""

    def text(name: str) -> str:
        example = (EXAMPLES / name).read_text()
        if relay := next_hops.get("smtp.improvmx.com"):
            example = example.replace("smtp://smtp.improvmx.com:587", relay)
        hops = "".join(f'"{domain}" = "{url}"\n' for domain, url in next_hops.items())
        return (
            f'state = "{tmp_path}/state"\n{example}\n'
            f'[milter]\nlisten = "{postfix.milter}"\n'
            f'[transport]\nlisten = "{postfix.transport}"\n'
            f"[next_hops]\n{hops}"
        )

    return text


@pytest.fixture
def start(example_text: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[[str], Waypost]]:
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(Waypost(example_text(name), tmp_path))


@pytest.fixture
def gmail(next_hop: MakeNextHop) -> FakeNextHop:
    return next_hop("gmail.com")


@pytest.fixture
def outlook(next_hop: MakeNextHop) -> FakeNextHop:
    return next_hop("outlook.com")


def send(postfix: PrivatePostfix, recipient: str) -> None:
    answers = postfix.send(SENDER, [recipient], MESSAGE)
    assert answers.dot is not None, answers
    assert answers.dot.code == 250, answers


def arrives(hop: FakeNextHop, *recipients: str) -> None:
    """Exactly these are at `hop`, in any order."""
    got = [each for message in hop.wait_for(len(recipients)) for each in message.recipients]
    assert sorted(got) == sorted(recipients)


def test_regex_and_subdomains(
    postfix: PrivatePostfix,
    start: Callable[[str], Waypost],
    next_hop: MakeNextHop,
    gmail: FakeNextHop,
    outlook: FakeNextHop,
) -> None:
    improvmx = next_hop("smtp.improvmx.com")
    start("regex-and-subdomains/waypost.toml")
    for recipient in ("u1+shop@mydomain.net", "bank@user1.mydomain.net", "user2-x@mydomain.net"):
        send(postfix, recipient)
    send(postfix, "anybody@mydomain.net")
    arrives(gmail, "user1@gmail.com", "user1@gmail.com", "user2@gmail.com", "user3@gmail.com")

    gmail.at("rcpt", THROTTLED)
    send(postfix, "user1@mydomain.net")
    arrives(improvmx, "user1@imx.mydomain.net")
    improvmx.at("mail", FULL)
    send(postfix, "user2@mydomain.net")
    arrives(outlook, "mydomain.lastresort@outlook.com")

    outlook.at("rcpt", "550 5.7.1 no")
    send(postfix, "user1@user1.mydomain.net")
    [reason] = postfix.wait_until_deferred(SENDER).reasons.values()
    assert "0 of 1 legs sent; leg 1: 451 throttled, 452 mailbox_full, 550 rejected" in reason


def test_user_table(
    postfix: PrivatePostfix,
    start: Callable[[str], Waypost],
    next_hop: MakeNextHop,
    gmail: FakeNextHop,
    outlook: FakeNextHop,
) -> None:
    gmx = next_hop("gmx.de")
    start("user-table/waypost.toml")
    for recipient in ("A.Smith@mydomain.net", "alice@seconddomain.de", "alice+x@mydomain.net"):
        send(postfix, recipient)
    send(postfix, "Sales@seconddomain.de")
    send(postfix, "whoever@seconddomain.de")
    arrives(
        gmail, *["alice.smith@gmail.com"] * 3, "bob.jones@gmail.com", "catchall+whoever@gmail.com"
    )
    send(postfix, "anything@carol.mydomain.net")
    arrives(outlook, "carol@outlook.com")

    gmail.down()
    send(postfix, "alice@mydomain.net")
    send(postfix, "bob@mydomain.net")
    send(postfix, "whoever@mydomain.net")
    arrives(outlook, "carol@outlook.com", "alice.smith@outlook.com")
    arrives(gmx, "bob.jones@gmx.de", "catchall@gmx.de")


def test_one_backup(
    postfix: PrivatePostfix,
    start: Callable[[str], Waypost],
    gmail: FakeNextHop,
    outlook: FakeNextHop,
) -> None:
    start("one-backup/waypost.toml")
    send(postfix, "me@mydomain.net")
    arrives(gmail, "me@gmail.com")
    gmail.at("rcpt", THROTTLED)
    send(postfix, "me@mydomain.net")
    arrives(outlook, "me@outlook.com")


def test_fan_out(
    postfix: PrivatePostfix, start: Callable[[str], Waypost], gmail: FakeNextHop
) -> None:
    start("fan-out/waypost.toml")
    gmail.at("rcpt", THROTTLED, recipient="email2@gmail.com", times=2)
    send(postfix, "family@mydomain.net")
    postfix.wait_until_empty()
    arrives(gmail, "email1@gmail.com", "email2@gmail.com")


def test_fan_out_with_a_common_backup(
    postfix: PrivatePostfix,
    start: Callable[[str], Waypost],
    gmail: FakeNextHop,
    outlook: FakeNextHop,
) -> None:
    start("fan-out-common-backup/waypost.toml")
    gmail.at("rcpt", THROTTLED, recipient="email1@gmail.com")
    send(postfix, "family@mydomain.net")
    postfix.wait_until_empty()
    arrives(gmail, "email2@gmail.com")
    arrives(outlook, "backup@outlook.com")

    gmail.at("rcpt", THROTTLED)
    send(postfix, "family@mydomain.net")
    postfix.wait_until_empty()
    arrives(outlook, *["backup@outlook.com"] * 2)


def test_fan_out_with_paired_backups(
    postfix: PrivatePostfix,
    start: Callable[[str], Waypost],
    gmail: FakeNextHop,
    outlook: FakeNextHop,
) -> None:
    start("fan-out-paired-backups/waypost.toml")
    gmail.at("rcpt", FULL, recipient="email1@gmail.com")
    send(postfix, "family@mydomain.net")
    postfix.wait_until_empty()
    arrives(gmail, "email2@gmail.com")
    arrives(outlook, "email1@outlook.com")


def test_reroute(
    postfix: PrivatePostfix,
    start: Callable[[str], Waypost],
    example_text: Callable[[str], str],
    gmail: FakeNextHop,
    outlook: FakeNextHop,
) -> None:
    waypost = start("reroute/waypost.toml")
    gmail.at("rcpt", THROTTLED)
    send(postfix, "me@mydomain.net")
    postfix.wait_until_deferred(SENDER)
    after = example_text("reroute/waypost.after.toml")
    assert waypost.reload(after)["event"] == "config_loaded"
    arrives(outlook, "me@outlook.com")
    postfix.wait_until_empty()
    assert not gmail.messages
