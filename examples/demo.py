"""`make demo`: the main job on real messages.

Starts a private Postfix with Waypost attached on loopback and three mailbox providers that answer
as the story wants. Sends a message per scene, shows which way it took and why, and ends with status
1 if one ended otherwise than told. `KEEP=1` leaves it all running until Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from waypost.cli.explain import explain
from waypost.load import load
from waypost.plugins import load_plugins
from waypost.testing.daemon import Event, Waypost
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.postfix import PostfixUnavailable, PrivatePostfix
from waypost.testing.waiting import wait_until

CONFIG = """\
domains = ["mydomain.net", "seconddomain.de"]

[defaults]
last_resort = "lastresort@gmx.de"

[routes.user1]
match.exact = ["user1@mydomain.net"]
match.plus = ["user1@mydomain.net"]
match.subdomain = ["user1.mydomain.net"]
match.regex = ['u1-.*@mydomain\\.net']
deliver = ["user1@gmail.com", "user1@outlook.com"]

[routes.family]
match.exact = ["family@mydomain.net"]
fan_out = [
    ["email1@gmail.com", "email1@outlook.com"],
    ["email2@gmail.com", "email2@outlook.com"],
]

[routes.everyone-else]
match.catch_all = ["mydomain.net"]
deliver = ["catchall+{local}@gmail.com"]
"""
PROVIDERS = ("gmail.com", "outlook.com", "gmx.de")
SENDER = "shop@sender.example"
THROTTLED = "451 4.7.650 The mail server has been temporarily rate limited due to IP reputation"
FULL = "452 4.2.2 The recipient's inbox is out of storage space"


@dataclass(frozen=True, slots=True)
class Scene:
    """A message, what goes wrong on its way, and where it must end."""

    title: str
    recipient: str
    arrives: frozenset[str] = frozenset()
    """The mailboxes that must have it in the end, and no other."""
    trouble: Sequence[tuple[str, str, str | None]] = ()
    """Provider, what it says at RCPT, and to which recipient alone."""
    code: int = 250
    """What the sender hears at RCPT."""


SCENES = (
    Scene("A plus address", "user1+shop@mydomain.net", frozenset({"user1@gmail.com"})),
    Scene("Anything at a subdomain", "bank@user1.mydomain.net", frozenset({"user1@gmail.com"})),
    Scene("A regex alias", "u1-travel@mydomain.net", frozenset({"user1@gmail.com"})),
    Scene(
        "The catch-all",
        "newsletter@mydomain.net",
        frozenset({"catchall+newsletter@gmail.com"}),
    ),
    Scene(
        "Failover: Gmail throttles this host",
        "user1+shop@mydomain.net",
        frozenset({"user1@outlook.com"}),
        [("gmail.com", THROTTLED, None)],
    ),
    Scene(
        "The last resort: Outlook throttles it, too",
        "user1@mydomain.net",
        frozenset({"lastresort@gmx.de"}),
        [("gmail.com", THROTTLED, None), ("outlook.com", THROTTLED, None)],
    ),
    Scene(
        "Fan-out to two people, each with a backup; one mailbox is full",
        "family@mydomain.net",
        frozenset({"email1@outlook.com", "email2@gmail.com"}),
        [("gmail.com", FULL, "email1@gmail.com")],
    ),
    Scene("An unknown address", "nobody@seconddomain.de", code=550),
    Scene(
        "Somebody else's domain",
        "friend@elsewhere.example",
        frozenset({"friend@elsewhere.example"}),
    ),
)


@dataclass(slots=True)
class Stage:
    """Everything that runs."""

    postfix: PrivatePostfix
    waypost: Waypost
    hops: Mapping[str, FakeNextHop]
    wrong: list[str] = field(default_factory=list)

    def play(self, number: int, scene: Scene) -> None:
        """Send the scene's message and tell what became of it."""
        print(f"\n{number}. {scene.title}")
        for hop in self.hops.values():
            hop.behave()
            hop.messages.clear()
        for provider, reply, recipient in scene.trouble:
            self.hops[provider].at("rcpt", reply, recipient=recipient)
        before = len(self.waypost.events("attempt"))
        answer = self._send(number, scene)
        print(f"   {SENDER} -> {scene.recipient}")
        print(f"   why   {self._why(scene.recipient)}")
        if answer[:3] == "250":
            self._wait(scene)
        for attempt in self.waypost.events("attempt")[before:]:
            print(f"   tried {_way(attempt)}")
        if answer[:3] != "250":
            print(f"   the sender is told at RCPT: {answer}")
        self._judge(scene, answer)

    def _send(self, number: int, scene: Scene) -> str:
        message = (
            f"From: {SENDER}\r\nTo: {scene.recipient}\r\nSubject: {scene.title}\r\n"
            f"Message-ID: <demo-{number}@sender.example>\r\n\r\nHello.\r\n"
        )
        # From within: only there may mail for somebody else's domain pass.
        sent = self.postfix.send(SENDER, [scene.recipient], message.encode(), client="127.0.0.1")
        [answer] = sent.rcpt.values()
        return str(answer)

    def _why(self, recipient: str) -> str:
        loaded = load(self.waypost.config, load_plugins())
        explanation = asyncio.run(explain(loaded, recipient))
        if explanation.routed is None:
            return explanation.verdict.replace("_", " ")
        match = explanation.routed.match
        return f'{match.matcher} rule "{match.rule}" -> route {match.route.name}'

    def _wait(self, scene: Scene) -> None:
        wait_until(
            lambda: not self.postfix.queue() and self._arrived() >= scene.arrives,
            lambda: f"{scene.recipient} to arrive; {self._arrived()}\n{self.waypost.log()}",
        )

    def _arrived(self) -> frozenset[str]:
        return frozenset(
            recipient
            for hop in self.hops.values()
            for message in list(hop.messages)
            for recipient in message.recipients
        )

    def _judge(self, scene: Scene, answer: str) -> None:
        arrived = self._arrived()
        as_told = arrived == scene.arrives and answer.startswith(str(scene.code))
        if as_told:
            print(f"   ok    {', '.join(sorted(arrived)) or 'nothing was accepted'}")
        else:
            self.wrong.append(scene.title)
            print(f"   WRONG it is at {sorted(arrived)}, not {sorted(scene.arrives)}; {answer}")


def _way(attempt: Event) -> str:
    outcome, reply = attempt["outcome"], str(attempt["reply"])
    return f"{attempt['destination']:<30} {outcome}: {reply if outcome != 'sent' else reply[:9]}"


@contextmanager
def _stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="waypost-demo-")))
        hops = {name: stack.enter_context(FakeNextHop(name)) for name in PROVIDERS}
        postfix = stack.enter_context(PrivatePostfix(["mydomain.net", "seconddomain.de"]))
        config = directory / "waypost.toml"
        config.write_text(
            f'state = "{directory}/state"\n{CONFIG}'
            f'[milter]\nlisten = "{postfix.milter}"\n[transport]\nlisten = "{postfix.transport}"\n'
            "[next_hops]\n" + "".join(f'"{name}" = "{hop.url}"\n' for name, hop in hops.items())
        )
        waypost = stack.enter_context(Waypost(config, directory))
        yield Stage(postfix, waypost, {**hops, "elsewhere.example": postfix.elsewhere})


def _keep(stage: Stage) -> None:
    """Show what arrives, until Ctrl-C."""
    send = (
        f"import smtplib; smtplib.SMTP('127.0.0.1', {stage.postfix.port}).sendmail("
        "'you@sender.example', ['user1+hello@mydomain.net'], 'Subject: hello\\n\\nHello.')"
    )
    print(f"\nStill running; Ctrl-C ends it. Configuration: {stage.waypost.config}")
    print(f'Send a message from another terminal:\n\n    python3 -c "{send}"\n')
    shown = {name: len(hop.messages) for name, hop in stage.hops.items()}
    while True:
        for name, hop in stage.hops.items():
            for message in hop.messages[shown[name] :]:
                shown[name] += 1
                print(f"{name} took a message for {', '.join(message.recipients)}", flush=True)
        time.sleep(0.2)


def main() -> int:
    """Play every scene; the exit status."""
    # A closed terminal or a kill leaves no more behind than Ctrl-C does.
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)
    try:
        with _stage() as stage:
            print("A private Postfix, Waypost, and three mailbox providers on loopback.")
            for number, scene in enumerate(SCENES, start=1):
                stage.play(number, scene)
            if stage.wrong:
                print(f"\n{len(stage.wrong)} of {len(SCENES)} went wrong: {stage.wrong}")
                return 1
            print(f"\nAll {len(SCENES)} messages went as told.")
            if os.environ.get("KEEP"):
                for hop in stage.hops.values():
                    hop.behave()
                _keep(stage)
    except PostfixUnavailable as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
