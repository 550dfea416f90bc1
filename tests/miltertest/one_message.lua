-- A recipient that has a route, one that has none, and one that is not ours.
conn = mt.connect(milter)
assert(conn, "no connection")
assert(mt.negotiate(conn, SMFI_VERSION, nil, nil) == nil, "no negotiation")

-- What is asked for: recipients are changed, and nothing else of a message is looked at.
assert(mt.test_action(conn, SMFIF_ADDRCPT_PAR), "ADDRCPT_PAR is not asked for")
assert(mt.test_action(conn, SMFIF_DELRCPT), "DELRCPT is not asked for")
assert(not mt.test_action(conn, SMFIF_CHGBODY), "CHGBODY is asked for")
for _, step in ipairs { SMFIP_NOCONNECT, SMFIP_NOHELO, SMFIP_NOHDRS, SMFIP_NOEOH, SMFIP_NOBODY } do
    assert(mt.test_option(conn, step), "a step that is not needed is asked for")
end
assert(not mt.test_option(conn, SMFIP_NORCPT), "RCPT is not asked for")

mt.macro(conn, SMFIC_MAIL, "i", "4bX9")
assert(mt.mailfrom(conn, "<s@example.org>", "SIZE=1000") == nil, "no MAIL")

assert(mt.rcptto(conn, "<me@mydomain.net>", "NOTIFY=NEVER") == nil, "no RCPT")
assert(mt.getreply(conn) == SMFIR_CONTINUE, "a recipient with a route")

assert(mt.rcptto(conn, "<nobody@mydomain.net>") == nil, "no RCPT")
assert(mt.getreply(conn) == SMFIR_REPLYCODE, "a recipient without one")

assert(mt.rcptto(conn, "<somebody@elsewhere.example>") == nil, "no RCPT")
assert(mt.getreply(conn) == SMFIR_CONTINUE, "a recipient that is not ours")

assert(mt.eom(conn) == nil, "no end of message")
assert(mt.getreply(conn) == SMFIR_CONTINUE, "the end of the message")
assert(mt.eom_check(conn, MT_RCPTDELETE, "<me@mydomain.net>"), "me@ is not deleted")
assert(not mt.eom_check(conn, MT_RCPTDELETE, "<somebody@elsewhere.example>"), "deleted")
assert(not mt.eom_check(conn, MT_RCPTDELETE, "<nobody@mydomain.net>"), "deleted")
assert(not mt.eom_check(conn, MT_HDRADD), "a header is added")
assert(not mt.eom_check(conn, MT_BODYCHANGE), "the body is changed")
mt.disconnect(conn)
mt.echo("passed")
