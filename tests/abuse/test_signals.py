"""Signals at the worst time, and a log that nobody reads any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.abuse.clients import ENVELOPE, Good, assert_says, greeted, lines
from tests.abuse.world import World, running
from waypost.testing.misbehaviours import Hang
from waypost.testing.waiting import LONG, wait_until

HUNG = ENVELOPE.replace(b"<me@", b"<other@") + b"DATA\r\nSubject: hung\r\n\r\n.\r\n"
# `waypost serve` with less patience than DRAIN_SECONDS.
IMPATIENT = """
import functools, sys
import waypost.cli.serve as serve
from waypost.cli.main import main
serve.Daemon = functools.partial(serve.Daemon, drain_seconds=0.2)
sys.argv = ["waypost", *sys.argv[sys.argv.index("serve"):]]
sys.exit(main())
"""


def send(world: World, *numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(world.waypost.pid, number)


def loads(world: World) -> int:
    return len(world.waypost.events("config_loaded"))


class SlowFile:
    """A configuration that is read when the test lets it: a FIFO until then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = path.read_text()
        path.unlink()
        os.mkfifo(path)
        self._descriptor = -1

    def wait_until_it_is_being_read(self) -> None:
        wait_until(self._opened, "somebody who reads the configuration")

    def _opened(self) -> bool:
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # ENXIO: nobody reads (fifo(7))
            return False
        return True

    def let_it_be_read(self) -> None:
        self._path.unlink()
        self._path.write_text(self._text)
        os.write(self._descriptor, self._text.encode())
        os.close(self._descriptor)


def test_during_the_start(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        config, daemon = world.waypost.config, world.waypost
        assert daemon.stop() == 0
        file = SlowFile(config)
        command = [sys.executable, "-m", "waypost.cli.main", "serve", "--config", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            file.wait_until_it_is_being_read()
            for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
                process.send_signal(number)
            file.let_it_be_read()
            _, log = process.communicate(timeout=LONG)
        assert process.returncode == 0
        assert b'"stopped"' in log
        daemon.start()  # nothing is left that could be in the way


def test_a_storm_of_reloads_is_one_reload(tmp_path: Path) -> None:
    with running(tmp_path) as world, Good.of(world) as good:
        file = SlowFile(world.waypost.config)
        send(world, signal.SIGHUP)
        file.wait_until_it_is_being_read()
        for _ in range(50):
            send(world, signal.SIGHUP)
            good.asks(good.session)  # and when it answers, it has seen the signal
        file.let_it_be_read()
        wait_until(lambda: loads(world) == 3, "the start and two reloads")
        # What was asked for before the file was read is done by now, and a last one works.
        good.both()
        assert loads(world) == 3
        assert world.waypost.reload()["event"] == "config_loaded"


def test_when_stopping_is_what_it_is_once(tmp_path: Path) -> None:
    hang = Hang()
    with running(tmp_path) as world:
        world.outlook.at("dot", hang)
        with greeted(world.transport) as client:
            client.sendall(HUNG)
            hang.wait_until_reached()
            send(world, signal.SIGTERM)
            world.waypost.wait_for_event("stopping")
            send(world, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
            hang.release()
            assert_says(client, b"250 2.0.0 1 of 1 legs sent")
        assert world.waypost.stop() == 0
        assert len(world.waypost.events("stopping")) == 1
        assert loads(world) == 1


def test_a_delivery_that_nobody_waits_for_comes_to_its_end(tmp_path: Path) -> None:
    hang = Hang()
    with running(tmp_path) as world:
        world.outlook.at("dot", hang)
        with greeted(world.transport) as client:
            client.sendall(HUNG)
            hang.wait_until_reached()
        send(world, signal.SIGTERM)
        world.waypost.wait_for_event("stopping")
        hang.release()
        assert world.waypost.stop() == 0
        [finished] = world.waypost.events("recipient_finished")
        assert finished["reply"] == "250 2.0.0 1 of 1 legs sent"


def test_a_next_hop_that_hangs_keeps_it_for_its_time_only(tmp_path: Path) -> None:
    hang = Hang()
    with running(tmp_path, through=[sys.executable, "-c", IMPATIENT]) as world:
        world.outlook.at("dot", hang)
        with greeted(world.transport) as client:
            client.sendall(HUNG)
            hang.wait_until_reached()
            assert world.waypost.stop() == 0
            # No word after the content: Postfix keeps the message.
            assert [line[:3] for line in lines(client)][-1] == b"354"
        assert world.waypost.events("drain_timed_out")
        hang.release()


def test_a_log_that_nobody_reads(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        assert world.waypost.stop() == 0
        config = str(world.waypost.config)
        command = [sys.executable, "-m", "waypost.cli.main", "serve", "--config", config]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            while b'"ready"' not in process.stderr.readline():
                pass
            process.stderr.close()
            with Good.of(world) as good:
                process.send_signal(signal.SIGHUP)
                good.both()
            process.send_signal(signal.SIGTERM)
            assert process.wait(LONG) == 0
