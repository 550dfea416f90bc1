-- An MTA that offers less than is needed is told nothing, rather than half the truth.
conn = mt.connect(milter)
assert(conn, "no connection")
assert(mt.negotiate(conn, 2, SMFIF_ADDRCPT, 0) ~= nil, "version 2 is taken")
mt.echo("passed")
