"""Follows the ledger: what was committed to it since a position.

It reads rows of the ledger. A second reader of the stream `events` would lose entries, because that stream is trimmed
for the ledger.
"""

from shared.persistence.reports.feed import POSITION_FORM as POSITION_FORM
from shared.persistence.reports.feed import FeedPosition as FeedPosition
from shared.persistence.reports.feed import LedgerEvent as LedgerEvent
from shared.persistence.reports.feed import NotAPosition as NotAPosition
from shared.persistence.reports.feed import OrderChange as OrderChange
from shared.persistence.reports.feed import events_after, present_position
from shared.persistence.reports.reports import RecordedFill as RecordedFill
from shared.queries.connections import Connections

_AT_ONCE = 200
"""Rows of each broker and kind."""


def read_position(connections: Connections) -> FeedPosition:
    """The position behind everything that is committed now. Blocks. Raises DatabaseUnavailable."""
    return present_position(connections.engine)


def read_events(connections: Connections, position: FeedPosition) -> list[LedgerEvent]:
    """The next committed rows, some hundred at most; empty: there are none yet. Blocks. Raises DatabaseUnavailable."""
    return events_after(connections.engine, position, _AT_ONCE)
