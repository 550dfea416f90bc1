"""What hypothesis makes for the tests of the core, and the grammar that addresses must fit."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import strategies as st

from waypost.address import Address, canonical_domain
from waypost.outcome import Bounced, Deferred, Outcome, Sent, Stage
from waypost.reply import EnhancedStatus, Reply, ReplyClass, Scope

# RFC 5321 section 4.1.2 with RFC 6531 section 3.3, written again and apart from the parser.
_UTF8 = "\u00a0-\ud7ff\ue000-\U0010ffff"
_ATEXT = rf"[A-Za-z0-9!#$%&'*+\-/=?^_`{{|}}~{_UTF8}]"
_QUOTED = rf'"(?:[\x20\x21\x23-\x5b\x5d-\x7e{_UTF8}]|\\[\x20-\x7e])+"'
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
MAILBOX = re.compile(
    rf"(?:{_ATEXT}+(?:\.{_ATEXT}+)*|{_QUOTED})@(?:{_LABEL}(?:\.{_LABEL})*|\[[a-z0-9.:-]+\])"
)

# Characters that mean something in an address somewhere, and some that look as if they did.
_SPEAKING = 'ab+-_=.@"\\<>()[]{} ,;:%!/|ü\u00a0\u2028\u212a\u017f\u0301'

local_parts = st.text(st.sampled_from(_SPEAKING), min_size=1, max_size=30) | st.text(
    st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30
)
"""Every local part that can be written in an address (RFC 5321 section 4.1.2, RFC 6531 3.3)."""

_labels = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
domains = (
    st.lists(_labels, min_size=1, max_size=4).map(".".join)
    | st.sampled_from(["Bücher.example", "straße.de", "例え.テスト", "xn--bcher-kva.de", "a.BIZ."])
    | st.sampled_from(["[192.0.2.1]", "[IPv6:2001:db8::1]", "[IPv6:::1]"])
).map(canonical_domain)

addresses = st.builds(Address, local_parts, domains)
"""Every legal address, and none that is not."""

_PIECES = [*'"\\@<>. \t\0\x7f\x85[]aü\ud800\udcfc():,;\u2028İ。-', "..", "\r\n", "IPv6:", "xn--"]
_garbage = st.lists(st.sampled_from(_PIECES), max_size=25).map("".join)
anything = (
    _garbage
    | st.text(st.characters(), max_size=60)
    | st.builds("{}@{}".format, _garbage, _garbage)
    | st.builds('<"{}"@{}>'.format, _garbage, domains)
)
"""What a client may send where an address is due; undecodable bytes are lone surrogates."""


def nfd(text: str) -> str:
    """`text` with its composed letters taken apart."""
    return unicodedata.normalize("NFD", text)


statuses = st.builds(
    EnhancedStatus, st.sampled_from([2, 4, 5]), st.integers(0, 7), st.integers(0, 999)
)


def replies(*categories: int) -> st.SearchStrategy[Reply]:
    """Replies whose codes begin with one of `categories`."""
    codes = st.builds(lambda first, rest: first * 100 + rest, st.sampled_from(categories), _rests)
    return st.builds(Reply, codes, st.none() | statuses, st.text(max_size=40))


_rests = st.integers(0, 59)
_judged = (st.sampled_from(ReplyClass), st.sampled_from(Scope), st.sampled_from(Stage))

sent: st.SearchStrategy[Outcome] = st.builds(Sent, replies(2))
deferred: st.SearchStrategy[Outcome] = st.builds(Deferred, replies(4, 5), *_judged)
ambiguous: st.SearchStrategy[Outcome] = st.builds(
    Deferred, replies(4), *_judged, ambiguous=st.just(True)
)
bounced: st.SearchStrategy[Outcome] = st.builds(Bounced, replies(5), *_judged)
outcomes = sent | deferred | ambiguous | bounced
