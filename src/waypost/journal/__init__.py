"""The memory of attempts, so that a retry repeats nothing that succeeded.

`Journal` is what the daemon uses, `next_hops` what commands read. Inside, `schema` owns the tables
and their versions, `database` the thread and the transactions, `rows` the form of the rows.
"""

from waypost.journal.database import JournalTrouble
from waypost.journal.journal import Identity, Journal, Offer
from waypost.journal.reading import NextHopSeen, next_hops

__all__ = ["Identity", "Journal", "JournalTrouble", "NextHopSeen", "Offer", "next_hops"]
