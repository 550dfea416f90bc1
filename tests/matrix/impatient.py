"""`waypost serve`, losing patience with a next hop after `PATIENCE` seconds and not after minutes.

It stands before the daemon's command line (`Waypost`, `through`). This is no setting of the daemon:
nobody should wait for less than RFC 5321 section 4.5.3.2 asks for.
"""

from __future__ import annotations

import sys

from waypost.cli.main import main
from waypost.smtp_client.limits import SECONDS

PATIENCE = 3.0
"""Long enough that nobody who behaves is given up, on a machine that is busy with other tests."""

if __name__ == "__main__":
    SECONDS.update(dict.fromkeys(SECONDS, PATIENCE))
    sys.exit(main(sys.argv[sys.argv.index("serve") :]))
