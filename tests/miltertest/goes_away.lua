-- Clients that go away without a word, in every state; the last one is served all the same.
for state = 1, 5 do
    conn = mt.connect(milter)
    assert(conn, "no connection")
    if state > 1 then
        assert(mt.negotiate(conn, SMFI_VERSION, nil, nil) == nil, "no negotiation")
    end
    if state > 2 then
        assert(mt.mailfrom(conn, "<s@example.org>") == nil, "no MAIL")
    end
    if state > 3 then
        assert(mt.rcptto(conn, "<me@mydomain.net>") == nil, "no RCPT")
        assert(mt.getreply(conn) == SMFIR_CONTINUE, "RCPT")
    end
    if state > 4 then
        assert(mt.eom(conn) == nil, "no end of message")
        assert(mt.eom_check(conn, MT_RCPTDELETE, "<me@mydomain.net>"), "not deleted")
    end
    mt.disconnect(conn, false)
end
mt.echo("passed")
