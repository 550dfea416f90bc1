"""Some of the table of tests/matrix on real mail: what Postfix makes of what it is told."""

from __future__ import annotations

from tests.integration.conftest import MakeNextHop, StartWaypost
from tests.matrix.cells import CELLS, Cell
from waypost.testing.next_hop import FakeNextHop
from waypost.testing.postfix import PrivatePostfix
from waypost.testing.smtp import plain_message

SENDER = "alice@sender.example"
CHOSEN = {
    ("connect", "refuse"),
    ("greeting", "drop"),
    ("ehlo", "endless reply"),
    ("ehlo", "small SIZE"),
    ("rcpt", "4xx"),
    ("rcpt", "5xx"),
    ("rcpt", "450 4.2.0 greylisted, come back later"),
    ("data", "gibberish"),
    ("dot", "take and drop"),
    ("dot", "two replies"),
}
STATUS = {"2": "sent", "4": "deferred", "5": "bounced"}


def test_postfix_is_told_what_the_table_says(
    postfix: PrivatePostfix, next_hop: MakeNextHop, waypost: StartWaypost
) -> None:
    cells = dict(enumerate(cell for cell in CELLS if (cell.stage, cell.does) in CHOSEN))
    assert len(cells) == len(CHOSEN)
    backup = next_hop("backup.example")
    routes = []
    expected = {}
    for number, cell in cells.items():
        for name, others in (("alone", []), ("safe", ["{local}@backup.example"])):
            _misbehave(next_hop(f"{name}{number}.example"), cell)
            routes.append(_route(f"{name}{number}", others))
            expected[f"{name}{number}"] = cell.with_backup if others else cell.alone
    waypost("\n".join(routes))

    postfix.send(SENDER, [f"{name}@mydomain.net" for name in expected], plain_message("matrix"))

    assert {name: _told(postfix, name) for name in expected} == {
        name: (reply[4:], STATUS[reply[0]]) for name, reply in expected.items()
    }
    taken = [message.recipients[0].partition("@")[0] for message in backup.messages]
    went_on = {f"safe{number}" for number, cell in cells.items() if cell.leg == "goes on"}
    assert sorted(set(taken) & went_on) == sorted(went_on)
    assert len(taken) == len(set(taken))


def _misbehave(hop: FakeNextHop, cell: Cell) -> None:
    if cell.does == "refuse":
        hop.down()
    else:
        hop.at(cell.stage, cell.does)


def _route(name: str, others: list[str]) -> str:
    return f"""
        [routes.{name}]
        match.exact = ["{name}@mydomain.net"]
        deliver = {["{local}@" + name + ".example", *others]}
    """


def _told(postfix: PrivatePostfix, name: str) -> tuple[str, str]:
    """The status of the first try, and what Postfix did."""
    found = postfix.wait_for_log(
        rf"to=<[^>]*\.{name}=mydomain\.net@[^>]*>.* dsn=([\d.]+), status=(\w+)"
    )
    return found[1], found[2]
