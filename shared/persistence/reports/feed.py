"""Reads what was committed to the ledger since a position, for readers that follow it.

Fills and order events of one broker are committed in the order of their numbers (see `shared.persistence.sequence` and
`shared.persistence.ledger.event_order`). So a reader that remembers the last number of each broker misses nothing.
Across brokers there is no such order: no broker waits for another one.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, text

from shared.domain.amounts import Amount, Instant
from shared.domain.errors import NijaError
from shared.domain.identity import Broker, FollowerId
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction
from shared.persistence.reports.reports import RecordedFill

_BROKERS: Final = "|".join(broker.value for broker in Broker)
_FORM: Final = rf"(?:{_BROKERS}):[0-9]{{1,18}}:[0-9]{{1,18}}"
_PART: Final = re.compile(rf"(?P<broker>{_BROKERS}):(?P<fill>[0-9]{{1,18}}):(?P<event>[0-9]{{1,18}})")

_BEGINNING: Final = "0"
POSITION_FORM: Final = f"{_BEGINNING}|{_FORM}(?:,{_FORM}){{0,{len(Broker) - 1}}}"
"""The texts that `FeedPosition.parse` reads, as a regular expression."""

_HEADS: Final = text("""
    SELECT b.broker,
           coalesce((SELECT max(sequence) FROM master_fills WHERE broker = b.broker), 0) AS fill,
           coalesce((SELECT max(id) FROM order_events WHERE broker = b.broker), 0) AS event
    FROM unnest(CAST(:brokers AS text[])) AS b (broker)
""")
_ORDERS: Final = text("""
    SELECT e.id, e.broker, e.sequence, e.follower_id, e.copy_order_id, e.symbol, e.side, e.state, e.outcome, e.reason,
           e.message, e.attempt, e.broker_order_id, e.quantity, e.filled_quantity, e.cost, e.fee, e.fee_currency,
           e.occurred_at
    FROM unnest(CAST(:brokers AS text[]), CAST(:events AS bigint[])) AS c (broker, after)
    CROSS JOIN LATERAL (
        SELECT * FROM order_events WHERE broker = c.broker AND id > c.after ORDER BY id LIMIT :limit
    ) e
    ORDER BY e.id
""")
_FILLS: Final = text("""
    SELECT f.broker, f.sequence, f.master_account, f.fill_id, f.symbol, f.side, f.price, f.quantity, f.fraction_closed,
           f.executed_at, f.published_at
    FROM unnest(CAST(:brokers AS text[]), CAST(:fills AS bigint[])) AS c (broker, after)
    CROSS JOIN LATERAL (
        SELECT * FROM master_fills WHERE broker = c.broker AND sequence > c.after ORDER BY sequence LIMIT :limit
    ) f
    ORDER BY f.published_at, f.broker, f.sequence
""")


class NotAPosition(NijaError):
    """A text that is no position in the ledger. The error does not repeat it."""


class _FeedRow(BaseModel):
    model_config = ConfigDict(frozen=True)


class OrderChange(_FeedRow):
    """A change of a copy order's state."""

    broker: Broker
    sequence: int
    follower_id: FollowerId
    copy_order_id: str
    symbol: Symbol
    side: str
    state: str
    outcome: str | None
    reason: str | None
    message: str
    attempt: int
    broker_order_id: str | None
    quantity: Amount
    filled_quantity: Amount
    cost: Amount
    fee: Amount
    fee_currency: str
    occurred_at: Instant


class FeedPosition(_FeedRow):
    """How far a reader has come: by broker, the number of the last fill and the id of the last order event."""

    fills: Mapping[Broker, int] = {}
    events: Mapping[Broker, int] = {}

    @classmethod
    def parse(cls, position: str) -> Self:
        """Read `kraken:12:345,okx:3:0`, or `0`. A broker that is not named is read from its beginning.

        Raises NotAPosition.
        """
        fills: dict[Broker, int] = {}
        events: dict[Broker, int] = {}
        for part in () if position == _BEGINNING else position.split(","):
            found = _PART.fullmatch(part)
            if found is None:
                raise NotAPosition("this is not the id of an event")
            fills[Broker(found["broker"])] = int(found["fill"])
            events[Broker(found["broker"])] = int(found["event"])
        return cls(fills=fills, events=events)

    @property
    def text(self) -> str:
        """The position as text, which `parse` reads."""
        known = (broker for broker in Broker if self.fills.get(broker) or self.events.get(broker))
        parts = (f"{each.value}:{self.fills.get(each, 0)}:{self.events.get(each, 0)}" for each in known)
        return ",".join(parts) or _BEGINNING


class LedgerEvent(_FeedRow):
    """One committed row, and the position of a reader that has read it."""

    kind: Literal["fill", "order"]
    position: FeedPosition
    data: RecordedFill | OrderChange


def present_position(engine: Engine) -> FeedPosition:
    """The position behind everything that is committed now. Raises DatabaseUnavailable."""
    with transaction(engine) as connection:
        rows = connection.execute(_HEADS, {"brokers": [each.value for each in Broker]}).all()
    return FeedPosition(
        fills={Broker(row.broker): row.fill for row in rows}, events={Broker(row.broker): row.event for row in rows}
    )


def events_after(engine: Engine, position: FeedPosition, limit: int) -> list[LedgerEvent]:
    """The next committed rows, at most `limit` of each broker and kind. Raises DatabaseUnavailable.

    A fill comes before the order events that it has caused.
    """
    parameters: dict[str, Any] = {
        "brokers": [each.value for each in Broker],
        "fills": [position.fills.get(each, 0) for each in Broker],
        "events": [position.events.get(each, 0) for each in Broker],
        "limit": limit,
    }
    with transaction(engine) as connection:
        # In this order, the fill of each order event that is read is visible to the second query.
        orders = connection.execute(_ORDERS, parameters).mappings().all()
        fills = connection.execute(_FILLS, parameters).mappings().all()
    found: list[LedgerEvent] = []
    read_fills, read_events = dict(position.fills), dict(position.events)
    for row in fills:
        read_fills[Broker(row["broker"])] = row["sequence"]
        reached = FeedPosition(fills=dict(read_fills), events=dict(read_events))
        found.append(LedgerEvent(kind="fill", position=reached, data=RecordedFill.model_validate(dict(row))))
    for row in orders:
        read_events[Broker(row["broker"])] = row["id"]
        reached = FeedPosition(fills=dict(read_fills), events=dict(read_events))
        found.append(LedgerEvent(kind="order", position=reached, data=OrderChange.model_validate(dict(row))))
    return found
