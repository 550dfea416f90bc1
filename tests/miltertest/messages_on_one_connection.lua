-- Nothing of one message touches the next one: after an end, an abort, a new MAIL.
conn = mt.connect(milter)
assert(conn, "no connection")
assert(mt.negotiate(conn, SMFI_VERSION, nil, nil) == nil, "no negotiation")

function mail()
    assert(mt.mailfrom(conn, "<s@example.org>") == nil, "no MAIL")
end

function rcpt(address, reply)
    assert(mt.rcptto(conn, address) == nil, "no RCPT")
    assert(mt.getreply(conn) == reply, address)
end

function deletes(address)
    return mt.eom_check(conn, MT_RCPTDELETE, address)
end

function eom()
    assert(mt.eom(conn) == nil, "no end of message")
    assert(mt.getreply(conn) == SMFIR_CONTINUE, "the end of the message")
end

mail()
rcpt("<me@mydomain.net>", SMFIR_CONTINUE)
eom()
assert(deletes("<me@mydomain.net>"), "the first message")

mail()
rcpt("<other@mydomain.net>", SMFIR_CONTINUE)
assert(mt.abort(conn) == nil, "no abort")

mail()
rcpt("<somebody@elsewhere.example>", SMFIR_CONTINUE)
eom()
assert(not deletes("<me@mydomain.net>"), "of the first message")
assert(not deletes("<other@mydomain.net>"), "of the aborted message")

mail()
rcpt("<other@mydomain.net>", SMFIR_CONTINUE)
rcpt("<nobody@mydomain.net>", SMFIR_REPLYCODE)
eom()
assert(deletes("<other@mydomain.net>"), "the last message")
assert(not deletes("<me@mydomain.net>"), "of the first message")
mt.disconnect(conn)
mt.echo("passed")
