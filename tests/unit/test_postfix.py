"""The fragments of postfix/, filled in."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from waypost.postfix import Attachment, Door

ATTACHMENT = Attachment(
    door="pipe",
    milter="unix:/var/spool/postfix/waypost/milter.sock",
    transport="unix:/var/spool/postfix/waypost/lmtp.sock",
    route_domain="waypost.invalid",
    domains=["mydomain.net", "seconddomain.de"],
    not_ours=["imx.mydomain.net"],
    directory="/etc/postfix/waypost",
    user="waypost",
    python="/usr/bin/python3",
    pipe="/usr/lib/waypost/pipe.py",
)
CURRENT = {
    "queue_directory": "/var/spool/postfix",
    "relay_domains": "$mydestination",
    "transport_maps": "hash:/etc/postfix/transport",
    "smtpd_milters": "inet:127.0.0.1:11332",
}
BARE = CURRENT | {"relay_domains": "", "transport_maps": "", "smtpd_milters": ""}


def entries(table: str) -> dict[str, str]:
    lines = (line for line in table.splitlines() if line and not line.startswith("#"))
    pairs = (line.split(maxsplit=1) for line in lines)
    return {pattern: result for pattern, result in pairs}  # noqa: C416


def test_adds_to_lists_in_the_right_order() -> None:
    parameters = ATTACHMENT.parameters(CURRENT)
    assert parameters["transport_maps"] == (
        "texthash:/etc/postfix/waypost/transport hash:/etc/postfix/transport"
        " texthash:/etc/postfix/waypost/transport_not_ours"
    )
    assert parameters["relay_domains"] == (
        "$mydestination !imx.mydomain.net mydomain.net seconddomain.de"
    )
    assert parameters["smtpd_milters"] == (
        "inet:127.0.0.1:11332 { unix:waypost/milter.sock, default_action=tempfail }"
    )


def test_adds_to_empty_lists() -> None:
    parameters = replace(ATTACHMENT, not_ours=[]).parameters(BARE)
    assert parameters["relay_domains"] == "mydomain.net seconddomain.de"
    assert parameters["smtpd_milters"] == "{ unix:waypost/milter.sock, default_action=tempfail }"


@pytest.mark.parametrize(
    ("listen", "seen"),
    [
        ("inet:127.0.0.1:9900", "inet:127.0.0.1:9900"),
        ("unix:/run/waypost/milter.sock", "unix:/run/waypost/milter.sock"),
    ],
)
def test_a_milter_outside_the_queue_directory_keeps_its_address(listen: str, seen: str) -> None:
    parameters = replace(ATTACHMENT, milter=listen).parameters(BARE)
    assert parameters["smtpd_milters"] == f"{{ {seen}, default_action=tempfail }}"


@pytest.mark.parametrize(
    ("door", "result"),
    [("pipe", "waypost:"), ("lmtp", "waypost:unix:/var/spool/postfix/waypost/lmtp.sock")],
)
def test_maps_our_domains_with_their_subdomains(door: Door, result: str) -> None:
    tables = replace(ATTACHMENT, door=door).tables()
    assert entries(tables["transport"]) == dict.fromkeys(
        [
            "waypost.invalid",
            "mydomain.net",
            ".mydomain.net",
            "seconddomain.de",
            ".seconddomain.de",
        ],
        result,
    )
    assert entries(tables["transport_not_ours"]) == {
        "imx.mydomain.net": ":",
        ".imx.mydomain.net": ":",
    }


def test_what_only_pipe_needs() -> None:
    lmtp = replace(ATTACHMENT, door="lmtp")
    only_pipe = ATTACHMENT.parameters(BARE).keys() - lmtp.parameters(BARE).keys()
    assert only_pipe == {"waypost_destination_recipient_limit", "waypost_time_limit"}
    assert ATTACHMENT.tables().keys() - lmtp.tables().keys() == {"status_filter"}


def test_leaves_postfixs_own_macros_in_the_service() -> None:
    assert (
        ATTACHMENT.service()
        .rstrip()
        .endswith(
            "argv=/usr/bin/python3 -I -S /usr/lib/waypost/pipe.py"
            " --socket unix:/var/spool/postfix/waypost/lmtp.sock"
            " --queue-id ${queue_id} --sender ${sender} -- ${recipient}"
        )
    )


def test_a_name_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="relay_domains"):
        ATTACHMENT.parameters({"queue_directory": "/", "transport_maps": "", "smtpd_milters": ""})


def test_the_readme_names_every_setting() -> None:
    """Who attaches by hand must find each parameter of the fragments, and why it is there."""
    readme = Path(str(files("waypost").joinpath("fragments", "README.md"))).read_text("utf-8")
    doors: tuple[Door, ...] = ("pipe", "lmtp")
    for door in doors:
        attachment = replace(ATTACHMENT, door=door)
        options = [word for word in attachment.service().split() if "_" in word and "=" in word]
        names = [*attachment.parameters(BARE), *(option.split("=")[0] for option in options)]
        assert [name for name in names if f"`{name}" not in readme] == []
