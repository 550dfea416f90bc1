"""A private Postfix on loopback, with Waypost attached to it by the fragments of `postfix/`.

    with PrivatePostfix(["mydomain.net"], door="pipe") as postfix:
        ...            # Waypost listens on postfix.milter and postfix.transport
        answers = postfix.send("sender@sender.example", ["user1@mydomain.net"], message)

It has its own configuration, queue and log in a temporary directory, and its own ports; any number
of them run side by side, next to the host's own. Mail to anywhere else, bounces included, is
relayed to `postfix.elsewhere`, a FakeNextHop: no DNS, nothing leaves the host. Retries come after a
second. It needs root, as Postfix does.

Promises: what it started is stopped when the `with` block is left, however that happens, and
nothing else is.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import waypost.pipe
from waypost.postfix import Attachment, Door
from waypost.testing.bounces import Bounce, read_bounce
from waypost.testing.next_hop import FakeNextHop, free_port
from waypost.testing.smtp import Answers, deliver
from waypost.testing.waiting import LONG, wait_until

OUTSIDE = "127.0.0.9"
"""The address of a client that is a stranger to Postfix: not in its mynetworks."""
INSIDE = "127.0.0.1"

# The services that Postfix's own master.cf has and that one host needs; none is chrooted. qmgr
# looks into `incoming` every second: there it puts what it wanted to retry while it was still being
# delivered ("skipped, still being delivered"), which the short retry times below make likely.
_MASTER = """\
# service type        private unpriv chroot wakeup maxproc command
{inet}    inet        n - n -     - smtpd
pickup    unix        n - n 60    1 pickup
cleanup   unix        n - n -     0 cleanup
qmgr      unix        n - n 1     1 qmgr
rewrite   unix        - - n -     - trivial-rewrite
bounce    unix        - - n -     0 bounce
defer     unix        - - n -     0 bounce
trace     unix        - - n -     0 bounce
verify    unix        - - n -     1 verify
flush     unix        n - n 1000? 0 flush
proxymap  unix        - - n -     - proxymap
smtp      unix        - - n -     - smtp
relay     unix        - - n -     - smtp
lmtp      unix        - - n -     - lmtp
showq     unix        n - n -     - showq
error     unix        - - n -     - error
retry     unix        - - n -     - error
discard   unix        - - n -     - discard
anvil     unix        - - n -     1 anvil
scache    unix        - - n -     1 scache
postlog   unix-dgram  n - n -     1 postlogd
"""


class PostfixUnavailable(Exception):
    """There is no Postfix here that could be started; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A message in the queue."""

    queue_id: str
    queue: str
    """`active`, `deferred`, `incoming`, `hold` or `maildrop`."""
    sender: str
    reasons: Mapping[str, str]
    """Why it was deferred, by recipient as Postfix knows it (a route address); empty when it was
    not."""


class PrivatePostfix:
    """A Postfix of one's own; start it by `with` or `start()`."""

    def __init__(
        self,
        domains: Sequence[str] = (),
        *,
        door: Door = "pipe",
        not_ours: Sequence[str] = (),
        route_domain: str = "waypost.invalid",
        hostname: str = "mx.mydomain.net",
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Attach Waypost for `domains`; without any, it is a plain Postfix.

        `parameters` are added to main.cf, over those of this class. Raises PostfixUnavailable.
        """
        defaults = _postfix_defaults()
        # Postfix's owner and the user of waypost-pipe must get through; mkdtemp shuts them out.
        self.directory = Path(tempfile.mkdtemp(prefix="waypost-postfix-"))
        self.directory.chmod(0o755)
        self.config_directory = self.directory / "etc"
        self.queue_directory = self.directory / "spool"
        self.port = free_port()
        self.hostname = hostname
        self.milter = f"unix:{self.queue_directory}/waypost/milter.sock"
        """For `milter.listen`."""
        self.transport = f"unix:{self.queue_directory}/waypost/lmtp.sock"
        """For `transport.listen`."""
        self.elsewhere = FakeNextHop("elsewhere.example")
        """Takes all mail that is for somewhere else."""
        self._commands = Path(defaults["command_directory"])
        self._sendmail = defaults["sendmail_path"]
        self._log_seen = 0
        main = self._plain() | dict(parameters or {})
        self._write(main, self._attachment(door, domains, not_ours, route_domain))

    @property
    def url(self) -> str:
        """Where it listens, as `next_hops` and `relays` want it."""
        return f"smtp://{INSIDE}:{self.port}"

    def __enter__(self) -> Self:
        try:
            self.elsewhere.start()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def start(self) -> None:
        """Start it, after `stop`. Raises RuntimeError with Postfix's own words."""
        started = self._run("postfix", "start")
        if started.returncode != 0:
            raise RuntimeError(f"postfix start: {started.stderr}{self._whole_log()}")

    def stop(self) -> None:
        """Stop it; the queue stays. Deliveries that are under way are cut off."""
        self._run("postfix", "stop")

    def reload(self) -> None:
        """Have it read its configuration again."""
        reloads = self._whole_log().count("reload -- version")
        self._run("postfix", "reload")
        wait_until(lambda: self._whole_log().count("reload -- version") > reloads, "the reload")

    def smtp(self, *, client: str = OUTSIDE) -> smtplib.SMTP:
        """An open connection from the address `client`; the caller closes it."""
        return smtplib.SMTP(
            INSIDE,
            self.port,
            local_hostname="client.sender.example",
            timeout=LONG,
            source_address=(client, 0),
        )

    def send(
        self,
        sender: str,
        recipients: Sequence[str],
        message: bytes,
        *,
        mail: str = "",
        rcpt: str = "",
        client: str = OUTSIDE,
    ) -> Answers:
        """Send one message on a connection of its own; see `waypost.testing.smtp.deliver`."""
        with self.smtp(client=client) as connection:
            return deliver(connection, sender, recipients, message, mail=mail, rcpt=rcpt)

    def sendmail(self, sender: str, recipients: Sequence[str], message: bytes) -> None:
        """Submit a message locally, as cron and scripts do: no milter sees it (sendmail(1))."""
        command = [self._sendmail, "-C", str(self.config_directory), "-i", "-f", sender]
        lines = message.replace(b"\r\n", b"\n")
        subprocess.run([*command, "--", *recipients], input=lines, check=True, timeout=LONG)

    def queue(self) -> list[Queued]:
        """What is in the queue; a message may be missing at the moment when it is retried.

        (showq(8) reads one directory after the other, `active` before `deferred`.)
        """
        listed = self._run("postqueue", "-j")
        if listed.returncode != 0:
            raise RuntimeError(f"postqueue -j: {listed.stderr}")
        return [_queued(json.loads(line)) for line in listed.stdout.splitlines()]

    def wait_until_empty(self, seconds: float = LONG) -> None:
        """Return once nothing is in the queue. Raises TimeoutError."""
        wait_until(self._is_empty, lambda: f"an empty queue; {self.queue()}\n{self.log()}", seconds)

    def wait_until_deferred(self, sender: str, seconds: float = LONG) -> Queued:
        """The message of `sender`, once it is deferred with a reason. Raises TimeoutError."""

        def deferred() -> Queued | None:
            candidates = (each for each in self.queue() if each.sender == sender)
            return next((each for each in candidates if each.queue == "deferred"), None)

        return wait_until(
            deferred, lambda: f"a deferred message of {sender}\n{self.log()}", seconds
        )

    def flush(self) -> None:
        """Try everything that is deferred, now."""
        self._run("postqueue", "-f")

    def clear(self) -> None:
        """Delete everything in the queue, and forget the log so far; for the next test."""

        def emptied() -> bool:
            self._run("postsuper", "-d", "ALL")
            return self._is_empty()

        wait_until(emptied, lambda: f"an empty queue; {self.queue()}\n{self.log()}")
        self._log_seen = len(self._whole_log())

    def bounces(self, to: str) -> list[Bounce]:
        """The DSNs that `to` has been sent, as far as they were delivered `elsewhere`."""
        read = (read_bounce(message) for message in list(self.elsewhere.messages))
        return [bounce for bounce in read if bounce is not None and bounce.to == to]

    def wait_for_bounce(self, to: str, seconds: float = LONG) -> Bounce:
        """The first DSN that `to` is sent. Raises TimeoutError."""
        what = f"a bounce to {to}"
        return wait_until(lambda: self.bounces(to), lambda: f"{what}\n{self.log()}", seconds)[0]

    def log(self) -> str:
        """What it has logged since the last `clear`."""
        return self._whole_log()[self._log_seen :]

    def wait_for_log(self, pattern: str, seconds: float = LONG) -> re.Match[str]:
        """The first match of `pattern` in `log()`, once there is one. Raises TimeoutError."""
        return wait_until(
            lambda: re.search(pattern, self.log()),
            lambda: f"{pattern!r} in the log\n{self.log()}",
            seconds,
        )

    def _is_empty(self) -> bool:
        # What `queue` may miss, the log tells: qmgr has begun with it and not removed it.
        begun: set[str] = set()
        pattern = r"qmgr\[\d+\]: (\w+): (from=|removed)|postsuper\[\d+\]: Deleted"
        for line in re.finditer(pattern, self.log()):
            if line[2] == "from=":
                begun.add(line[1])
            elif line[2] == "removed":
                begun.discard(line[1])
            else:
                begun.clear()
        return not begun and not self.queue()

    def _whole_log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "maillog").read_text("utf-8", "surrogateescape")
        return ""

    def _run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        # A session of its own: Ctrl-C at the terminal must not stop "postfix stop" half-way.
        return subprocess.run(
            [self._commands / command, "-c", self.config_directory, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG,
            start_new_session=True,
        )

    def _remove(self) -> None:
        try:
            self.stop()
            self.elsewhere.stop()
        finally:
            shutil.rmtree(self.directory)

    def _plain(self) -> dict[str, str]:
        return {
            "compatibility_level": "3.6",
            "queue_directory": str(self.queue_directory),
            "data_directory": str(self.directory / "lib"),
            "maillog_file": str(self.directory / "maillog"),
            "maillog_file_prefixes": str(self.directory),
            "inet_interfaces": INSIDE,
            "inet_protocols": "ipv4",
            "mynetworks": f"{INSIDE}/32",
            "myhostname": self.hostname,
            "mydestination": "",
            "alias_maps": "",
            "relay_domains": "",
            "relayhost": f"[{INSIDE}]:{self.elsewhere.port}",
            "smtp_dns_support_level": "disabled",
            "smtpd_peername_lookup": "no",
            # Retries as soon as Postfix can; everything else that only waits, switched off.
            "queue_run_delay": "1s",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "1s",
            "in_flow_delay": "0",
            "smtpd_error_sleep_time": "0",
            "smtpd_client_connection_count_limit": "0",
            "notify_classes": "",
            "message_size_limit": "50000000",
        }

    def _attachment(
        self, door: Door, domains: Sequence[str], not_ours: Sequence[str], route_domain: str
    ) -> Attachment | None:
        if not domains:
            return None
        # A copy, since the checkout may lie where the command's user cannot go.
        pipe = shutil.copy(waypost.pipe.__file__, self.directory / "pipe.py")
        user = "nobody"
        return Attachment(
            door=door,
            milter=self.milter,
            transport=self.transport,
            route_domain=route_domain,
            domains=domains,
            not_ours=not_ours,
            directory=str(self.config_directory),
            user=user,
            python=_python_for(user),
            pipe=str(pipe),
        )

    def _write(self, main: dict[str, str], attachment: Attachment | None) -> None:
        master = _MASTER.replace("{inet}", f"{INSIDE}:{self.port}")
        tables: dict[str, str] = {}
        for directory in (self.config_directory, self.queue_directory, self.directory / "lib"):
            directory.mkdir()
        shutil.chown(self.directory / "lib", "postfix")
        if attachment is not None:
            (self.queue_directory / "waypost").mkdir()
            main = main | attachment.parameters({"smtpd_milters": "", "transport_maps": "", **main})
            master += attachment.service()
            tables = attachment.tables()
        lines = (f"{name} = {value}\n" for name, value in main.items())
        for name, text in {"main.cf": "".join(lines), "master.cf": master, **tables}.items():
            path = self.config_directory / name
            path.write_text(text)
            # A file that has just been changed may be half-written: Postfix waits, then reads it
            # again (dict_load_file, dict.c). This one is complete.
            os.utime(path, (0, 0))


def _postfix_defaults() -> dict[str, str]:
    postconf = shutil.which("postconf", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if postconf is None:
        raise PostfixUnavailable(
            "there is no postconf here; on Debian: apt-get install postfix, or make setup"
        )
    if os.geteuid() != 0:
        raise PostfixUnavailable("Postfix starts as root only; run this as root")
    names = ["command_directory", "sendmail_path"]
    printed = subprocess.run([postconf, "-d", *names], capture_output=True, text=True, check=True)
    return dict(line.split(" = ", 1) for line in printed.stdout.splitlines())


def _python_for(user: str) -> str:
    """An interpreter that `user` may run: a virtual environment is often under a private home."""
    candidates = [sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin:/bin")]
    group = pwd.getpwnam(user).pw_gid
    for python in filter(None, candidates):
        asked = [python, "-I", "-S", "-c", ""]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(asked, check=True, user=user, group=group, extra_groups=())
            return python
    raise PostfixUnavailable(f"no Python that {user} may run among {candidates}")


def _queued(entry: Mapping[str, object]) -> Queued:
    recipients = entry["recipients"]
    assert isinstance(recipients, list)
    reasons = {each["address"]: each.get("delay_reason", "") for each in recipients}
    sender = "" if entry["sender"] == "MAILER-DAEMON" else str(entry["sender"])
    return Queued(str(entry["queue_id"]), str(entry["queue_name"]), sender, reasons)
