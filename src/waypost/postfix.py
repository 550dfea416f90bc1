"""What Postfix is told about Waypost: the fragments of `postfix/`, filled in.

Owns the reading of the fragments, so that the text an administrator reads and what is done for him
cannot drift. Use: an `Attachment` says how Waypost and Postfix are to meet; its methods give the
parameters for main.cf, the service for master.cf and the lookup tables. It changes nothing itself.
`postfix/README.md` documents every `{name}`.

Promises: a name without a value is an error, never left standing; all other text stays as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Final, Literal

Door = Literal["pipe", "lmtp"]
"""Which delivery agent hands mail to Waypost: pipe(8) by the command waypost-pipe, or lmtp(8)."""

_MAIN: Final[Mapping[Door, Sequence[str]]] = {
    "pipe": ("main.cf", "pipe/main.cf"),
    "lmtp": ("main.cf",),
}
_TABLES: Final[Mapping[Door, Sequence[str]]] = {
    "pipe": ("transport", "transport_not_ours", "pipe/status_filter"),
    "lmtp": ("transport", "transport_not_ours"),
}
_SECONDS: Final[Mapping[str, float]] = {
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_TIME = re.compile(r"([0-9]+)([smhdw]?)")
# `${queue_id}` and the like are Postfix's own.
_NAME = re.compile(r"(?<!\$)\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Attachment:
    """How Waypost and a Postfix meet."""

    door: Door
    milter: str
    """`milter.listen` of the configuration."""
    transport: str
    """`transport.listen` of the configuration."""
    route_domain: str
    domains: Sequence[str]
    """Our domains in which an unmatched recipient does not exist (`unmatched = "reject"`)."""
    not_ours: Sequence[str]
    """Subdomains of them that are not."""
    directory: str
    """Where the tables are put; Postfix reads them there."""
    user: str
    """Who runs waypost-pipe: neither root nor the owner of the mail system (pipe(8))."""
    python: str
    """An interpreter that `user` can run."""
    pipe: str
    """waypost/pipe.py, readable by `user`."""

    def parameters(self, current: Mapping[str, str]) -> dict[str, str]:
        """What main.cf has to say, each value on one line.

        `current` has the values of now: of `queue_directory`, and of the lists that are added to.
        """
        milter = _as_smtpd_sees_it(self.milter, PurePosixPath(current["queue_directory"]))
        values = {**current, "milter": milter}
        return _parameters("\n".join(self._fill(name, values) for name in _MAIN[self.door]))

    def service(self) -> str:
        """The entry in master.cf."""
        return self._fill(f"{self.door}/master.cf", {})

    def tables(self) -> dict[str, str]:
        """The lookup tables by file name."""
        return {PurePosixPath(name).name: self._fill(name, {}) for name in _TABLES[self.door]}

    def _fill(self, fragment: str, values: Mapping[str, str]) -> str:
        scalars = {
            **values,
            "transport": self.transport,
            "nexthop": self.transport if self.door == "lmtp" else "",
            "route_domain": self.route_domain,
            "directory": self.directory,
            "user": self.user,
            "python": self.python,
            "pipe": self.pipe,
        }
        lists = {"domain": self.domains, "not_ours": self.not_ours}
        text = files("waypost").joinpath("fragments", fragment).read_text("utf-8")
        return "".join(_line(line, scalars, lists) for line in text.splitlines(keepends=True))


def _line(line: str, scalars: Mapping[str, str], lists: Mapping[str, Sequence[str]]) -> str:
    """A line with its values; one that names a list becomes a line for each of its elements."""
    if line.startswith("#"):
        return line
    repeated = next((name for name in _NAME.findall(line) if name in lists), None)
    if repeated is None:
        return _put(scalars, line)
    return "".join(_put({**scalars, repeated: element}, line) for element in lists[repeated])


def _put(values: Mapping[str, str], line: str) -> str:
    return _NAME.sub(lambda match: values[match[1]], line)


def _parameters(text: str) -> dict[str, str]:
    """What a text in the form of main.cf sets (postconf(5))."""
    values: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            values[name] = f"{values[name]} {line.strip()}".strip()
        else:
            name, _, value = (part.strip() for part in line.partition("="))
            values[name] = value
    return values


def _as_smtpd_sees_it(address: str, queue_directory: PurePosixPath) -> str:
    # Postfix's daemons run in the queue directory, and when chrooted it is their root: a path
    # relative to it holds for both.
    kind, _, path = address.partition(":")
    if kind == "unix" and PurePosixPath(path).is_relative_to(queue_directory):
        return f"unix:{PurePosixPath(path).relative_to(queue_directory)}"
    return address


def maximal_queue_lifetime() -> float | None:
    """Seconds for which the Postfix of this host keeps a message (postconf(5)).

    None: there is no Postfix, or it cannot be asked.
    """
    postconf = shutil.which("postconf", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if postconf is None:
        return None
    asked = subprocess.run(
        [postconf, "-h", "maximal_queue_lifetime"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    match = _TIME.fullmatch(asked.stdout.strip())
    # Without a unit it is days, the unit of this parameter's default.
    return int(match[1]) * _SECONDS[match[2] or "d"] if match else None
