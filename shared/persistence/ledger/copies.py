"""Reads from the ledger everything about copies that a restore writes into Redis.

Everything is per broker. Positions are of assets. Quantities of orders are in base currency. All methods block, and raise DatabaseUnavailable.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import structlog
from pydantic import ValidationError
from sqlalchemy import Engine, text

from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopiedPosition, CopyOrder
from shared.domain.identity import Broker, FollowerId
from shared.domain.instrument import Instrument
from shared.persistence.database import transaction
from shared.persistence.ledger.restore_count import begin_restore

_DONE = text("""
    SELECT min(greatest(f.joined_sequence, coalesce(d.newest, 0))) FROM followers f
    LEFT JOIN (
        SELECT follower_id, max(sequence) AS newest FROM decisions WHERE broker = :broker GROUP BY follower_id
    ) d ON d.follower_id = f.follower_id
    WHERE f.broker = :broker AND f.status <> 'removed'
""")

_DECIDED = text("""
    SELECT follower_id FROM decisions
    WHERE broker = :broker AND sequence = :sequence AND follower_id = ANY(:follower_ids)
""")

_PENDING = text("""
    SELECT d.copy_order_id, d.sequence, d.follower_id, d.symbol, d.side, d.quantity, d.fraction, d.carried_after,
           d.minimum_notional / NULLIF(f.quote_price, 0) AS policy_minimum, f.price, f.executed_at, f.published_at, f.trace_id
    FROM decisions d
    JOIN master_fills f ON f.broker = d.broker AND f.sequence = d.sequence
    WHERE d.broker = :broker AND d.skip_reason IS NULL AND NOT EXISTS (
        SELECT FROM order_events e WHERE e.copy_order_id = d.copy_order_id AND e.outcome IS NOT NULL
    )
    ORDER BY d.sequence, d.follower_id
""")

_POSITIONS = text("""
    SELECT follower_id, asset, quantity, carried_exit FROM copied_positions
    WHERE broker = :broker AND (quantity <> 0 OR carried_exit <> 0)
""")

_CARRIES = text("""
    SELECT follower_id, asset, carried_after FROM (
        SELECT DISTINCT ON (follower_id, asset) follower_id, asset, carried_after
        FROM decisions WHERE broker = :broker ORDER BY follower_id, asset, sequence DESC
    ) newest WHERE carried_after <> 0
""")

_ACCOUNTS = text("""
    SELECT DISTINCT ON (follower_id) follower_id, equity, cash, held, positions, unpriced, occurred_at
    FROM account_snapshots WHERE broker = :broker ORDER BY follower_id, occurred_at DESC
""")

_INSTRUMENTS = text("SELECT instrument FROM instruments WHERE broker = :broker")

log = structlog.get_logger()


class PositionOf(NamedTuple):
    """A follower's copied position in an asset."""

    follower_id: FollowerId
    asset: str
    position: CopiedPosition


class CarryOf(NamedTuple):
    """The carried opens of a follower in an asset."""

    follower_id: FollowerId
    asset: str
    quantity: Decimal


class Copies:
    """The copies of one broker, as the ledger has them."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._engine = engine
        self._broker = broker

    def begin_restore(self) -> None:
        """Make the ledger refuse all events that were read from Redis before this call.

        The restored Redis will not contain what these events say.
        """
        with transaction(self._engine) as connection:
            begin_restore(connection, self._broker)

    def done_sequence(self) -> int | None:
        """The newest fill up to which every follower has its decisions. None if there are no followers."""
        with transaction(self._engine) as connection:
            done: int | None = connection.scalar(_DONE, {"broker": self._broker.value})
        return done

    def decided(self, sequence: int, follower_ids: Collection[FollowerId]) -> set[FollowerId]:
        """The followers among `follower_ids` that have a decision for this fill."""
        asked = {"broker": self._broker.value, "sequence": sequence, "follower_ids": list(follower_ids)}
        with transaction(self._engine) as connection:
            return set(connection.scalars(_DECIDED, asked))

    def pending(self, replayed_at: datetime) -> list[CopyOrder]:
        """The orders without a final state, in the order of their fills, marked as replayed at `replayed_at`."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_PENDING, {"broker": self._broker.value}).all()
        return [
            CopyOrder(
                id=row.copy_order_id,
                broker=self._broker,
                sequence=row.sequence,
                follower_id=row.follower_id,
                symbol=row.symbol,
                side=row.side,
                quantity=row.quantity,
                fraction=row.fraction,
                carried=row.carried_after,
                policy_minimum=row.policy_minimum or ZERO,
                reference_price=row.price,
                executed_at=row.executed_at,
                published_at=row.published_at,
                decided_at=replayed_at,
                replayed=True,
                trace_id=row.trace_id,
            )
            for row in rows
        ]

    def positions(self) -> Iterator[PositionOf]:
        """Copied positions that are not empty."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_POSITIONS, {"broker": self._broker.value}).all()
        for row in rows:
            position = CopiedPosition(quantity=row.quantity, carried_exit=row.carried_exit)
            yield PositionOf(row.follower_id, row.asset, position)

    def carries(self) -> list[CarryOf]:
        """The carried opens that are not zero."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_CARRIES, {"broker": self._broker.value}).all()
        return [CarryOf(row.follower_id, row.asset, row.carried_after) for row in rows]

    def accounts(self) -> dict[str, AccountSnapshot]:
        """The newest account snapshot of each follower, without its holdings."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_ACCOUNTS, {"broker": self._broker.value}).all()
        return {
            row.follower_id: AccountSnapshot(
                equity=row.equity,
                cash=row.cash,
                held=row.held,
                positions=row.positions,
                unpriced=tuple(row.unpriced or ()),
                taken_at=row.occurred_at,
            )
            for row in rows
        }

    def instruments(self) -> list[Instrument]:
        """The instruments that decisions used. Those that this version cannot read are logged and left out."""
        with transaction(self._engine) as connection:
            documents = connection.scalars(_INSTRUMENTS, {"broker": self._broker.value}).all()
        instruments: list[Instrument] = []
        for document in documents:
            try:
                instruments.append(Instrument.model_validate(document))
            except ValidationError as error:
                # The master trader will store it again. Until then, the fills in this symbol wait.
                log.warning("an instrument in the ledger cannot be read", document=document, error=str(error))
        return instruments
