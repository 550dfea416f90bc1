"""What receivers mean by their replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import statuses
from waypost.reply import Reply, ReplyClass, Scope
from waypost.reply_classes import ROWS, classify, deciding_row

H, M, ONE = Scope.HOST, Scope.MAILBOX, Scope.MESSAGE
THROTTLED, GREYLISTED, UNAVAILABLE = (
    ReplyClass.THROTTLED, ReplyClass.GREYLISTED, ReplyClass.UNAVAILABLE
)  # fmt: skip
FULL, UNKNOWN, REJECTED = (
    ReplyClass.MAILBOX_FULL, ReplyClass.UNKNOWN_RECIPIENT, ReplyClass.REJECTED
)  # fmt: skip
MESSAGE, OURS = ReplyClass.MESSAGE, ReplyClass.MISCONFIGURED

# As receivers were seen to write them, by the receiver whose row decides. What is meant decides
# whether a leg waits, and whether other messages are kept from that host.
SEEN: dict[str, dict[str, tuple[ReplyClass, Scope]]] = {
    "Gmail": {
        "421 4.7.28 [192.0.2.1 15] Our system has detected an unusual rate of\n4.7.28 unsolicited"
        " mail originating from your IP address. To protect our users from spam, mail sent from"
        " your IP address has been temporarily rate limited. - gsmtp": (THROTTLED, H),
        "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail. To protect our users"
        " from spam, mail has been temporarily rate limited. - gsmtp": (THROTTLED, H),
        "421 4.7.28 Gmail has detected an unusual rate of mail with this Message-ID":
            (ReplyClass.REPEATED, ONE),
        "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your"
        " DKIM domain [mydomain.net 35]. - gsmtp": (THROTTLED, ONE),
        "550 5.7.1 [192.0.2.1] Our system has detected an unusual rate\n5.7.1 of unsolicited mail"
        " originating from your IP address. To protect our users from spam, mail sent from your IP"
        " address has been blocked. - gsmtp": (REJECTED, H),
        "421 4.7.0 TLS required for RCPT domain, closing connection. - gsmtp": (REJECTED, M),
        "421 4.7.0 IP not in whitelist for RCPT domain, closing connection. - gsmtp":
            (REJECTED, M),
        "421 4.7.0 [192.0.2.1] Our system has detected that this message is suspicious due to the"
        " very low reputation of the sending domain. - gsmtp": (MESSAGE, ONE),
        "550 5.7.1 [192.0.2.1] Our system has detected that this message is likely unsolicited"
        " mail. - gsmtp": (MESSAGE, ONE),
        "550 5.7.1 [2001:db8::1] Our system has detected that this message does not meet IPv6"
        " sending guidelines regarding PTR records and authentication. - gsmtp": (MESSAGE, ONE),
        "421 4.7.0 [192.0.2.1 15] Our system has detected an unusual rate of unsolicited mail":
            (THROTTLED, H),
        "421 4.7.0 Try again later, closing connection. - gsmtp": (THROTTLED, H),
        "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents"
        " additional messages from being delivered. - gsmtp": (THROTTLED, M),
        "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents"
        " additional messages from being delivered. - gsmtp": (THROTTLED, M),
        "450 4.2.1 Peak SMTP relay limit exceeded for customer. - gsmtp": (THROTTLED, H),
        "421 4.7.29 Your email has been rate limited because this message wasn't sent over a TLS"
        " connection. - gsmtp": (OURS, H),
    },
    "Outlook": {
        "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP"
        " reputation. For e-mail delivery information, see https://postmaster.live.com (S775)":
            (THROTTLED, H),
        "451 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited due to IP"
        " reputation. (S844)": (THROTTLED, H),
        "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS77712344)":
            (THROTTLED, H),
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this"
        " list please visit https://sender.office.com/ (AS16012609)": (REJECTED, H),
        "550 5.7.649 Access denied, banned sending IP [192.0.2.1]": (REJECTED, H),
        "550 5.7.511 Access denied, banned sender[192.0.2.1]. To request removal from this list"
        " please forward this message to delist@messaging.microsoft.com": (REJECTED, H),
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your"
        " Internet service provider since part of their network is on our block list (S3140).":
            (REJECTED, H),
        "432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded": (THROTTLED, M),
        "554 5.2.122 The recipient has exceeded their limit for the number of messages they can"
        " receive per hour.": (THROTTLED, M),
        "451 4.4.62 Mail sent to the wrong Office 365 region. ATTR35.": (UNAVAILABLE, M),
        "451 4.7.0 Temporary server error. Please try again later. PRX4 NextHop: mx.example.com":
            (UNAVAILABLE, ONE),
        "550 5.7.515 Access denied, sending domain example.org does not meet the required"
        " authentication level.": (MESSAGE, ONE),
        "550 5.7.509 Access denied, sending domain example.org does not pass DMARC verification"
        " and has a DMARC policy of reject.": (MESSAGE, ONE),
        "550 5.4.1 Recipient address rejected: Access denied. [AM5EUR03FT016]": (UNKNOWN, M),
    },
    "Yahoo": {
        "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or"
        " user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes":
            (THROTTLED, H),
        "421 4.7.0 [TSS09] All messages from 192.0.2.1 will be permanently deferred; Retrying will"
        " NOT succeed.": (THROTTLED, H),
        "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred": (THROTTLED, H),
        "421 [TS01] Messages temporarily deferred": (THROTTLED, H),
        "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in"
        " Spamhaus's list; see http://postmaster.yahoo.com/550-bl23.html": (REJECTED, H),
        "554 Message not allowed - [PH01] Email not accepted for policy reasons.": (MESSAGE, ONE),
        "554 5.7.9 Message not accepted for policy reasons.": (MESSAGE, ONE),
        "554 Message not allowed - Headers are not RFC compliant[291]": (MESSAGE, ONE),
    },
    "iCloud": {
        "421 4.7.1 Messages to user1@icloud.com deferred due to excessive volume. Try again later -"
        " https://support.apple.com/en-us/HT204137": (THROTTLED, M),
        "550 5.7.1 [CS01] Message rejected due to local policy. Please visit"
        " https://support.apple.com/en-us/HT204137": (MESSAGE, ONE),
    },
    "GMX": {
        "554 gmx.net (mxgmx104) Nemesis ESMTP Service not available\nNo SMTP service\nIP address is"
        " block listed.\nFor explanation visit https://postmaster.gmx.net/en/case?c=r0201":
            (REJECTED, H),
        "554 Transaction failed\nReject due to policy restrictions.": (MESSAGE, ONE),
        "550 user1@gmx.de: Reject due to policy violations": (MESSAGE, ONE),
    },
    "T-Online": {
        "554 IP=192.0.2.1 - A problem occurred. (Ask your postmaster for help or to contact"
        " tosa@rx.t-online.de to clarify.) (BL)": (REJECTED, H),
        "554 IP=2001:db8::1 - Dialup/transient IP not allowed. Use a mailgateway. (DIAL)":
            (REJECTED, H),
    },
    "Amazon SES": {
        "454 Throttling failure: Daily message quota exceeded.": (THROTTLED, H),
    },
    "any": {
        # Greylisting
        "450 4.2.0 <a@b.example>: Recipient address rejected: Greylisted, see"
        " http://postgrey.schweikert.ch/help/b.example.html": (GREYLISTED, ONE),
        "451 4.7.0 Grey-listed, come back in 300 seconds": (GREYLISTED, ONE),
        "451 4.7.1 Greylisting in action, please come back later": (GREYLISTED, ONE),
        "450 gray listed": (GREYLISTED, ONE),
        "451 4.7.1 Try again later": (GREYLISTED, ONE),
        "451 4.7.1 Service unavailable - try again later": (GREYLISTED, ONE),
        # Mailbox full
        "452 4.2.2 The recipient's inbox is out of storage space - gsmtp": (FULL, M),
        "552 5.2.2 <a@b.example> Quota exceeded (mailbox for user is full)": (FULL, M),
        "450 4.2.2 too many messages in this mailbox": (FULL, M),
        "552 5.2.2 This message is larger than the current system limit or the recipient's mailbox"
        " is full.": (FULL, M),
        "552 Requested mail action aborted: exceeded storage allocation": (FULL, M),
        "552 Requested mailbox exceeds quota.": (FULL, M),
        "554 delivery error: dd Sorry, your message to a@b.example cannot be delivered. This"
        " account is over quota.": (FULL, M),
        "550 user1: mailbox quota exceeded for this recipient": (FULL, M),
        "550 user1: message would exceed maximum mailbox size for this recipient": (FULL, M),
        "571 5.7.1 Mailbox full": (FULL, M),
        "552 user1@aol.com has a full mailbox": (FULL, M),
        "552 recipient storage full, try again later": (FULL, M),
        "550 User has exhausted allowed storage space.": (FULL, M),
        "550 User has too many messages on the server.": (FULL, M),
        # The message and its sender
        "450 4.1.8 <x@nowhere.example>: Sender address rejected: Domain not found": (MESSAGE, ONE),
        "550 Verification failed for <x@nowhere.example>\nUnrouteable address\nSender verify"
        " failed": (MESSAGE, ONE),
        "550 5.7.1 Service unavailable, MailFrom domain is listed in Spamhaus. (S8002)":
            (MESSAGE, ONE),
        "554 5.7.1 Service unavailable; Sender address [x@nowhere.example] blocked using"
        " dbl.spamhaus.org": (MESSAGE, ONE),
        "550 5.7.1 Your email was rejected due to having a domain present in the Spamhaus DBL --"
        " see https://www.spamhaus.org/dbl/": (MESSAGE, ONE),
        "554 5.4.0 Error: too many hops": (MESSAGE, ONE),
        "554 5.4.14 Hop count exceeded - possible mail loop ATTR34": (MESSAGE, ONE),
        "554 5.4.6 Hop count exceeded": (MESSAGE, ONE),
        "450 4.4.6 Routing loop detected (G16)": (MESSAGE, ONE),
        "552 5.3.4 Message too big for system": (MESSAGE, ONE),
        "552 5.2.3 Your message exceeded Google's message size limits.": (MESSAGE, ONE),
        "552 Error: message too large": (MESSAGE, ONE),
        "552 Message size exceeds fixed maximum message size": (MESSAGE, ONE),
        "554 5.6.0 Corrupt message content": (MESSAGE, ONE),
        "421 4.7.26 This mail has been blocked because the sender is unauthenticated":
            (MESSAGE, ONE),
        "550 5.7.26 This mail is unauthenticated": (MESSAGE, ONE),
        "421 4.7.32 Your email has been rate limited because the From: header (RFC5322) in this"
        " message isn't aligned with either the authenticated SPF or DKIM organizational domain.":
            (MESSAGE, ONE),
        "550 5.7.23 <a@b.example>: Recipient address rejected: Message rejected due to: SPF fail -"
        " not authorized.": (MESSAGE, ONE),
        "550 <a@b.example>: Reject due to SPF policy.": (MESSAGE, ONE),
        "550 5.2.0 Message rejected due to DMARC.": (MESSAGE, ONE),
        "554 5.7.1 Message rejected under suspicion of SPAM": (MESSAGE, ONE),
        "554 5.7.1 Spam message rejected": (MESSAGE, ONE),
        "550 This message contains a virus (Eicar-Test-Signature)": (MESSAGE, ONE),
        "554 5.7.1 Message contains malware": (MESSAGE, ONE),
        "554 rejecting banned content": (MESSAGE, ONE),
        # Our host
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org;"
        " https://www.spamhaus.org/query/ip/192.0.2.1": (REJECTED, H),
        "550 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.org":
            (REJECTED, H),
        "550 5.7.1 Mail from IP 192.0.2.1 was rejected due to listing in Spamhaus SBL.":
            (REJECTED, H),
        "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied": (REJECTED, H),
        "550 sender IP address 192.0.2.1 is locally blacklisted here": (REJECTED, H),
        "554 5.2.0 sc969: IP reputation ratelimit in effect": (REJECTED, H),
        "450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]": (OURS, H),
        "450 4.7.1 Client host 192.0.2.1 has no PTR record (G1F)": (OURS, H),
        "421 Refused. Your reverse DNS entry does not resolve to an IP.": (OURS, H),
        "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname": (OURS, H),
        "550 5.7.1 Service unavailable, Helo domain is listed in Spamhaus. (S8001)": (OURS, H),
        "530 5.7.0 Authentication required": (OURS, H),
        "530 5.7.57 Client was not authenticated to send anonymous mail during MAIL FROM":
            (OURS, H),
        "535 5.7.8 Username and Password not accepted.": (OURS, H),
        "550 5.7.1 Authentication required": (OURS, H),
        "451 5.7.3 STARTTLS is required to send mail": (OURS, H),
        "554 5.7.1 <a@b.example>: Relay access denied": (OURS, M),
        "550 relaying denied for <a@b.example>": (OURS, M),
        # Rates
        "421 Max message per connection reached, closing transmission channel": (UNAVAILABLE, ONE),
        "452 4.5.3 Error: too many recipients": (THROTTLED, ONE),
        "452 4.5.3 Domain policy size per transaction exceeded, please try this recipient in a"
        " separate transaction.": (THROTTLED, ONE),
        "450 User is receiving mail too quickly": (THROTTLED, M),
        "450 4.2.1 <a@b.example>: Mailbox received too much email in a short period of time (G30)":
            (THROTTLED, M),
        "421 4.3.2 The maximum number of concurrent connections per resource forest has exceeded a"
        " limit, closing transmission channel. PRX8": (THROTTLED, H),
        "421 4.7.0 mx.example.com Error: too many connections from 192.0.2.1": (THROTTLED, H),
        "450 4.7.1 Error: too much mail from 192.0.2.1": (THROTTLED, H),
        "450 4.7.1 Error: too many recipients from 192.0.2.1": (THROTTLED, H),
        "451 4.7.1 Received too many messages from a new or untrusted IP (G28)": (THROTTLED, H),
        "421 Rate limit reached. Please try again later": (THROTTLED, H),
        "421 4.1.0 192.0.2.1 Throttled - try again later.": (THROTTLED, H),
        "421 Message from 192.0.2.1 temporarily deferred - 4.16.50": (THROTTLED, H),
        "550 5.4.5 Daily SMTP relay sending limit exceeded.": (THROTTLED, H),
        # Mailboxes
        "450 4.1.1 <a@b.example>: Recipient address rejected: unverified address: Address"
        " verification in progress": (UNAVAILABLE, M),
        "550 5.1.1 The email account that you tried to reach does not exist. - gsmtp": (UNKNOWN, M),
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup":
            (UNKNOWN, M),
        "556 5.1.10 no mail for this domain": (UNKNOWN, M),
        "556 domain does not accept mail": (UNKNOWN, M),
        "550 5.1.1 Not our Customer": (UNKNOWN, M),
        "550 No such user here": (UNKNOWN, M),
        "550 User unknown.": (UNKNOWN, M),
        "550 <a@b.example>: user does not exist": (UNKNOWN, M),
        "550 Recipient not found": (UNKNOWN, M),
        "554 delivery error: dd a@yahoo.com is no longer valid. [-20]": (UNKNOWN, M),
        "554 Sorry, no mailbox here by that name. (#5.1.1)": (UNKNOWN, M),
        "554 5.7.1 <a@b.example>: Recipient address rejected: Not in recipient list": (UNKNOWN, M),
        "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).": (UNKNOWN, M),
        "554 delivery error: dd This user doesn't have a yahoo.com account (a@yahoo.com) [-9]":
            (UNKNOWN, M),
        "550 Unknown local part a in <a@web.de>": (UNKNOWN, M),
        "550 Unrouteable address": (UNKNOWN, M),
        "550 5.2.1 The email account that you tried to reach is disabled. - gsmtp": (REJECTED, M),
        "554 30 Sorry, your message to a@b.example cannot be delivered. This mailbox is disabled"
        " (554.30).": (REJECTED, M),
        "554 5.7.1 <a@b.example>: Recipient address rejected: Access denied": (REJECTED, M),
        "554 5.2.0 this mailbox takes no mail from strangers": (REJECTED, M),
        # Words that mean something else elsewhere
        "451 4.3.0 No reputation data for this message": (UNAVAILABLE, ONE),
        "450 4.7.0 the domain's reputation is low": (UNAVAILABLE, ONE),
        "550 5.7.1 message refused by our operators": (REJECTED, ONE),
        # By code
        "452 4.3.1 Insufficient system storage": (UNAVAILABLE, H),
        "521 5.3.2 mx.example.com does not accept mail": (REJECTED, H),
        "421 4.3.2 Service not available": (UNAVAILABLE, H),
        "421 4.7.0 Temporary System Problem. Try again later. - gsmtp": (UNAVAILABLE, H),
        "421 4.7.0 me.com Error: too many errors": (UNAVAILABLE, H),
        "451 4.3.0 Mail server temporarily rejected message. - gsmtp": (UNAVAILABLE, ONE),
        "454 4.7.0 TLS not available due to temporary reason": (UNAVAILABLE, ONE),
        "451 Temporary local problem - please try later": (UNAVAILABLE, ONE),
        "554 5.7.1 Policy rejection on the target address": (REJECTED, ONE),
    },
}  # fmt: skip


LINES = [
    (receiver, line, reply_class, scope)
    for receiver, lines in SEEN.items()
    for line, (reply_class, scope) in lines.items()
]


@pytest.mark.parametrize(
    ("receiver", "line", "reply_class", "scope"),
    LINES,
    ids=[f"{number}-{line[:40]}" for number, (_, line, *_) in enumerate(LINES)],
)
def test_knows_what_receivers_mean(
    receiver: str, line: str, reply_class: ReplyClass, scope: Scope
) -> None:
    reply = Reply.own(line)
    row = deciding_row(reply)
    assert row is not None
    assert (row.receiver, row.reply_class, row.scope) == (receiver, reply_class, scope), row
    assert classify(reply) == (reply_class, scope)


def test_every_row_decides_a_reply_that_was_seen() -> None:
    deciding = {deciding_row(Reply.own(line)) for _, line, *_ in LINES}
    assert set(ROWS) - deciding == set()


@pytest.mark.parametrize("line", ["250 2.0.0 accepted", "354 go on", "200 4.7.1 greylisted"])
def test_what_is_positive_is_accepted(line: str) -> None:
    assert classify(Reply.own(line)) == (ReplyClass.ACCEPTED, ONE)


# Words of the table, in any order and company.
_words = st.sampled_from(
    ["client", "host", "your", "ip", "blocked", "listed", "too", "many", "messages", "connections",
     "recipient", "mailbox", "rate", "limit", "quota", "sender", "helo", "spam", "try", "again\n"]
)  # fmt: skip
_texts = st.text() | st.lists(_words).map(" ".join)


@given(st.builds(Reply, st.integers(-1, 1100), st.none() | statuses, _texts))
def test_every_reply_has_a_class_and_always_the_same(reply: Reply) -> None:
    reply_class, scope = classify(reply)
    assert (reply_class is ReplyClass.ACCEPTED) == (reply.code // 100 in (2, 3))
    assert classify(Reply(reply.code, reply.status, reply.text)) == (reply_class, scope)


def test_the_length_of_a_text_does_not_matter() -> None:
    # Without a bound, what comes behind would be searched as well.
    flood = "client host " * 100_000
    assert classify(Reply(550, None, f"{flood} blocked")) == (REJECTED, ONE)
    assert classify(Reply(550, None, f"User unknown {flood}")) == (UNKNOWN, M)
