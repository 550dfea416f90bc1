"""The command that pipe(8) runs: hands one message to the daemon and tells Postfix its reply.

    python3 -I -S pipe.py --socket unix:PATH|inet:HOST:PORT --queue-id ID --sender SENDER
                          [--time-limit SECONDS] -- RECIPIENT...

It reads the message from standard input, lines ended by LF, and speaks LMTP (RFC 2033) to the
daemon. Exit status and one line `x.y.z text` on standard output are what pipe(8) understands: 0
when every recipient was accepted, 75 when any is to be tried again, else 69, which bounces.

Promises: every trouble of our own is 75, never a traceback: a status that is not in sysexits.h
bounces the message. A message whose end was not seen is not handed over. A large message is not
held whole.

Postfix starts it for every message, so what it imports is what it costs. Python starts in 8 ms
under `-I -S`; socket would add 9 to that, argparse 10, signal 5, os 4, collections.abc 2. Hence
their C halves, and quoted annotations.
"""

import _socket
import posix
import sys
import time

TYPE_CHECKING = False  # as in typing, which would add 9 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EX_UNAVAILABLE = 69
EX_TEMPFAIL = 75

OPTIONS = ("--socket", "--queue-id", "--sender", "--time-limit")
USAGE = (
    "usage: --socket unix:PATH|inet:HOST:PORT --queue-id ID --sender SENDER"
    " [--time-limit SECONDS] -- RECIPIENT..."
)
# Below waypost_time_limit (3600 s): we answer before pipe(8) kills us, because then it bounces.
TIME_LIMIT = "3500"
# What the fragment asks pipe(8) for (null_sender), and what it passes when nobody asks.
NULL_SENDERS = ("", "MAILER-DAEMON")
BLOCK = 65536
LONGEST_REPLY_LINE = 65536
MOST_REPLY_LINES = 1000
LONGEST_OUTPUT = 500
PF_EXITING = 0x4  # include/linux/sched.h


class Trouble(Exception):
    """The message cannot be handed over now; the text says what is wrong and where."""


def main() -> None:
    """Run the command. Does not return."""
    status = EX_TEMPFAIL
    try:
        status, line = outcome(sys.argv[1:], posix.getppid())
        # No line end: pipe(8) would make it a space at the end of the reason.
        posix.write(1, line.encode("ascii"))
    finally:
        # Standard output may be closed, too: still no traceback, and no status 1.
        posix._exit(status)  # noqa: SLF001


def outcome(arguments: list[str], parent: int) -> tuple[int, str]:
    """Exit status and output line; `parent` is the process id of pipe(8)."""
    try:
        replies = hand_over(Arguments(arguments), Message(parent))
    except Trouble as trouble:
        return EX_TEMPFAIL, printable(f"4.3.0 {trouble}")
    except BaseException as error:
        return EX_TEMPFAIL, printable(f"4.3.0 trouble in waypost-pipe: {error!r}")
    # There is one exit status for all recipients: let none bounce that is to be tried again.
    worst = max(replies, key=lambda reply: (2, 5, 4).index(reply.category))
    status = {2: 0, 4: EX_TEMPFAIL, 5: EX_UNAVAILABLE}[worst.category]
    return status, printable(worst.with_status())


def printable(text: str) -> str:
    """`text` as a line of ASCII, cut where it is too long."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:LONGEST_OUTPUT])


class Arguments:
    """The command line. Raises Trouble."""

    def __init__(self, arguments: list[str]) -> None:
        options = {"--time-limit": TIME_LIMIT}
        rest = iter(arguments)
        for name in rest:
            if name == "--":
                break
            if name not in OPTIONS:
                raise Trouble(f"{name}: no such option; {USAGE}")
            options[name] = next(rest, "")
        recipients = list(rest)
        time_limit = options["--time-limit"]
        if len(options) < len(OPTIONS) or not recipients or not time_limit.isdecimal():
            raise Trouble(USAGE)
        sender = options["--sender"]
        self.socket = options["--socket"]
        self.queue_id = options["--queue-id"]
        self.sender = path("" if sender in NULL_SENDERS else sender)
        self.recipients = [path(recipient) for recipient in recipients]
        self.time_limit = int(time_limit)

    @property
    def ascii_only(self) -> bool:
        """Whether no address needs SMTPUTF8."""
        return self.sender.isascii() and all(each.isascii() for each in self.recipients)


def octets_of(argument: str) -> bytes:
    """A command-line argument as Postfix wrote it."""
    return argument.encode(sys.getfilesystemencoding(), "surrogateescape")


def path(address: str) -> bytes:
    """`<address>`, for MAIL and RCPT. Raises Trouble where it would break out of the command."""
    octets = octets_of(address)
    if any(octet < 0x20 or octet == 0x7F for octet in octets):
        raise Trouble(f"{address!a}: an address has no control characters")
    return b"<" + octets + b">"


def xtext(text: str) -> bytes:
    """`text` as a value in XFORWARD (RFC 3461 section 4; Postfix, XFORWARD_README)."""
    return b"".join(
        b"%c" % octet if 0x21 <= octet <= 0x7E and octet not in b"+=" else b"+%02X" % octet
        for octet in octets_of(text)
    )


class Message:
    """The message on standard input; `parent` writes it. Raises Trouble when there is none."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._rest = self._read()
        self._first = b""
        for block in self._rest:
            self._first += block
            if b"\n\n" in self._first or len(self._first) >= BLOCK:
                break
        if not self._first:
            raise Trouble("no message on standard input")

    def _read(self) -> "Iterator[bytes]":
        while block := posix.read(0, BLOCK):
            yield block
        if is_dying(self._parent):
            raise Trouble("pipe(8) was gone before the end of the message")

    @property
    def ascii_header(self) -> bool:
        """Whether its header does not need SMTPUTF8, as far as the first block shows."""
        return self._first.partition(b"\n\n")[0].isascii()

    def blocks(self) -> "Iterator[bytes]":
        """All of it, once. Raises Trouble at the end when that is not the end."""
        yield self._first
        yield from self._rest


def is_dying(parent: int) -> bool:
    """Whether the process that started us is gone or going.

    End of file is all that says that a message is complete, and a pipe(8) that is killed half-way
    (`postfix stop`) makes one too. The kernel closes its files before it makes us somebody else's
    child, but marks it as exiting before both: proc(5), /proc/PID/stat, flags.
    """
    try:
        stat = posix.read(posix.open(f"/proc/{parent}/stat", posix.O_RDONLY), 4096)
        flags = int(stat[stat.rindex(b")") + 1 :].split()[6])
    except (OSError, ValueError, IndexError):
        flags = 0  # no /proc here, or not for us to see
    return posix.getppid() != parent or flags & PF_EXITING != 0


def on_the_wire(blocks: "Iterable[bytes]") -> "Iterator[bytes]":
    """What follows DATA: CRLF line ends, leading dots doubled (RFC 5321 4.5.2), the final dot."""
    at_line_start = True
    for block in blocks:
        if at_line_start and block.startswith(b"."):
            yield b"."
        at_line_start = block.endswith(b"\n")
        yield block.replace(b"\n.", b"\n..").replace(b"\n", b"\r\n")
    yield b".\r\n" if at_line_start else b"\r\n.\r\n"


def hand_over(arguments: Arguments, message: Message) -> "list[Reply]":
    """The daemon's reply for each recipient: 250, 4xx or 5xx. Raises Trouble."""
    daemon = Connection(arguments.socket, arguments.time_limit)
    daemon.expect(220, "the connection")
    daemon.send(b"LHLO localhost\r\n")
    offered = [line.upper().split() for line in daemon.expect(250, "LHLO").lines]

    # All at once: every LMTP server has PIPELINING (RFC 2033 section 5).
    ident = any(words[:1] == ["XFORWARD"] and "IDENT" in words for words in offered)
    if ident:
        daemon.send(b"XFORWARD IDENT=" + xtext(arguments.queue_id) + b"\r\n")
    daemon.send(b"MAIL FROM:" + arguments.sender)
    if ["8BITMIME"] in offered:
        daemon.send(b" BODY=8BITMIME")
    if ["SMTPUTF8"] in offered and not (arguments.ascii_only and message.ascii_header):
        daemon.send(b" SMTPUTF8")
    daemon.send(b"\r\n")
    for recipient in arguments.recipients:
        daemon.send(b"RCPT TO:" + recipient + b"\r\n")
    daemon.send(b"DATA\r\n")

    if ident:
        daemon.expect(250, "XFORWARD")
    daemon.expect(250, "MAIL")
    replies = [daemon.decision("RCPT") for _ in arguments.recipients]
    if all(reply.category != 2 for reply in replies):
        return replies
    daemon.expect(354, "DATA")
    for octets in on_the_wire(message.blocks()):
        daemon.send(octets)
    # One more reply for each recipient that was accepted before (RFC 2033 section 4.2).
    replies = [daemon.decision("DATA") if reply.category == 2 else reply for reply in replies]
    daemon.quit()
    return replies


class Reply:
    """A reply of the daemon."""

    def __init__(self, code: int, lines: list[str]) -> None:
        self.code = code
        self.lines = lines

    @property
    def category(self) -> int:
        """Its first digit."""
        return self.code // 100

    def with_status(self) -> str:
        """`x.y.z text` on one line. pipe(8) believes x rather than the exit status: they agree."""
        status = f"{self.category}.0.0"
        texts = []
        for line in self.lines:
            first, _, rest = line.partition(" ")
            if is_status(first, self.category):
                status = first
                texts.append(rest)
            else:
                texts.append(line)
        return f"{status} {' '.join(texts)}"


def is_status(word: str, category: int) -> bool:
    """Whether `word` is an enhanced status (RFC 3463) of this category."""
    parts = word.split(".")
    return (
        len(parts) == 3
        and parts[0] == str(category)
        and all(part.isdecimal() and len(part) <= 3 for part in parts)
    )


class Connection:
    """A connection to the daemon's LMTP socket. All of it raises Trouble."""

    def __init__(self, where: str, time_limit: int) -> None:
        self._where = where
        self._time_limit = time_limit
        self._deadline = time.monotonic() + time_limit
        self._unsent = bytearray()
        self._received = b""
        refusal = ""
        for family, address in places(where):
            self._socket = _socket.socket(family, _socket.SOCK_STREAM)
            if family != _socket.AF_UNIX:
                self._socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            try:
                self._connect(address)
            except OSError as error:
                refusal = str(error.strerror or error)
            else:
                return
        raise Trouble(f"cannot reach the daemon at {where}: {refusal}; is `waypost serve` running?")

    def _connect(self, address: "Address") -> None:
        while True:
            try:
                self._limit_time()
                self._socket.connect(address)
            except BlockingIOError:
                time.sleep(0.1)  # its backlog is full (unix(7), EAGAIN)
            else:
                return

    def _limit_time(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no answer within {self._time_limit} s")
        self._socket.settimeout(left)

    def send(self, octets: bytes) -> None:
        """Send `octets`, at the latest before the next reply is read."""
        self._unsent += octets
        if len(self._unsent) >= BLOCK:
            self._flush()

    def expect(self, code: int, what: str) -> Reply:
        """The reply to `what`, which must have this code."""
        reply = self._reply()
        if reply.code != code:
            raise self._unexpected(reply, what)
        return reply

    def decision(self, what: str) -> Reply:
        """The reply to `what`, which must be 250, 4xx or 5xx."""
        reply = self._reply()
        if reply.code != 250 and reply.category not in (4, 5):
            raise self._unexpected(reply, what)
        return reply

    def quit(self) -> None:
        """Say QUIT. The replies are there, so whatever comes of it matters no more."""
        try:
            self.send(b"QUIT\r\n")
            self._flush()
        except Trouble:
            pass

    def _unexpected(self, reply: Reply, what: str) -> Trouble:
        text = " ".join(reply.lines)
        return Trouble(f"the daemon at {self._where} answered {reply.code} {text} to {what}")

    def _reply(self) -> Reply:
        self._flush()
        lines: list[str] = []
        while True:
            line = self._line()
            code, mark = line[:3], line[3:4]
            readable = len(code) == 3 and code.isdecimal() and mark in ("", " ", "-")
            if not readable or len(lines) == MOST_REPLY_LINES:
                raise Trouble(f"what answers at {self._where} speaks no LMTP")
            lines.append(line[4:])
            if mark != "-":
                return Reply(int(code), lines)

    def _line(self) -> str:
        while b"\n" not in self._received:
            more = self._receive()
            if not more or len(self._received) > LONGEST_REPLY_LINE:
                raise Trouble(f"the daemon at {self._where} broke off the conversation")
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line.rstrip(b"\r").decode("ascii", "replace")

    def _receive(self) -> bytes:
        try:
            self._limit_time()
            return self._socket.recv(4096)
        except OSError as error:
            raise self._lost(error) from None

    def _flush(self) -> None:
        try:
            self._limit_time()
            self._socket.sendall(self._unsent)
        except OSError as error:
            raise self._lost(error) from None
        self._unsent.clear()

    def _lost(self, error: OSError) -> Trouble:
        if isinstance(error, TimeoutError):
            return Trouble(f"no answer from {self._where} within {self._time_limit} s")
        return Trouble(f"lost the connection to {self._where}: {error.strerror or error}")


if TYPE_CHECKING:
    Address = str | tuple[str | int | bytes, ...]


def places(where: str) -> "Iterator[tuple[int, Address]]":
    """Family and address of every place that `where` (as in `transport.listen`) may mean."""
    kind, _, place = where.partition(":")
    host, _, port = place.rpartition(":")
    if kind == "unix" and place:
        yield _socket.AF_UNIX, place
    elif kind == "inet" and host and port:
        # As octets, because for text it imports the IDNA codec.
        octets = host.removeprefix("[").removesuffix("]").encode()
        for found in _socket.getaddrinfo(octets, port.encode(), 0, _socket.SOCK_STREAM):
            yield found[0], found[4]
    else:
        raise Trouble(f'--socket: "{where}" is neither unix:PATH nor inet:HOST:PORT')


if __name__ == "__main__":
    main()
