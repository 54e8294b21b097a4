"""Numbers the fills of masters and stores them in the ledger, and remembers how far they are read and published.

A broker's fills are numbered from 1 without gaps. Only this module assigns the numbers. It does so in the transaction
that stores the fill, under a lock per broker. So two master traders at the same time do no harm.

All methods block, so an event loop calls them from a thread. All raise DatabaseUnavailable when PostgreSQL does not
answer. Each may then be called again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import uuid4

from sqlalchemy import Connection, Engine, RowMapping, func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import col

from shared.domain.accounts.master_value import Equity, UnknownEquity
from shared.domain.amounts import ZERO
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.traded_position import apply_fill
from shared.domain.fill import AccountFill
from shared.domain.identity import Broker, FollowerId, MasterAccount
from shared.persistence.database import transaction
from shared.persistence.errors import SequenceBroken
from shared.persistence.ledger.fee_corrections import POSITIONS, store_correction
from shared.persistence.ledger.master_identity import MasterIdentities
from shared.persistence.sequence import last_sequence, lock_sequence
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.ledger import MasterFillRow, OrderEventRow, TradedPositionRow
from shared.persistence.tables.operational import MasterCheckpointRow, PublicationRow


@dataclass(frozen=True, slots=True)
class ObservedFill:
    """An execution on the master's account, with the equity of the account before it."""

    fill: AccountFill
    equity_before: Equity
    quote_price: Decimal | None = None
    """US dollars per unit of the quote currency; None if it has no price."""
    lot: Decimal = ZERO
    """The smallest step of a quantity, in base currency. A sale that leaves less than this is a full close."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a master's account has been read."""

    watched_since: datetime
    """Executions before this moment are history and are not copied."""
    read_until: datetime
    """The newest execution time that was seen. The next poll starts a little earlier, so that the readings overlap."""


SAME_ORDER: Final = timedelta(hours=1)
"""An execution is not a copy if its time differs by more than this from the ledger's last record of the order.

A test network that was reset gives the same order ids again.
"""


@dataclass(frozen=True, slots=True)
class ExecutedCopy:
    """The copy order that an execution belongs to."""

    follower_id: FollowerId
    occurred_at: datetime
    """The time of the newest event of the order in the ledger."""


class MasterFills:
    """The fills of all masters, and how far each account was read and each broker's fills were published."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def identities(self) -> MasterIdentities:
        """The accounts that the masters' keys open."""
        return MasterIdentities(self._engine)

    def watch(self, broker: Broker, master_account: MasterAccount, since: datetime) -> Checkpoint:
        """Return the checkpoint of the account. For a new account, store one that begins at `since`."""
        with transaction(self._engine) as connection:
            connection.execute(
                upsert(MasterCheckpointRow)
                .values(broker=broker.value, master_account=master_account, watched_since=since, read_until=since)
                .on_conflict_do_nothing()
            )
            row = connection.execute(
                select(col(MasterCheckpointRow.watched_since), col(MasterCheckpointRow.read_until)).where(
                    col(MasterCheckpointRow.broker) == broker.value,
                    col(MasterCheckpointRow.master_account) == master_account,
                )
            ).one()
        return Checkpoint(watched_since=row.watched_since, read_until=row.read_until)

    def advance(self, broker: Broker, master_account: MasterAccount, read_until: datetime) -> None:
        """Move the checkpoint of the account forward to `read_until`. It never moves back."""
        with transaction(self._engine) as connection:
            connection.execute(
                text(
                    "UPDATE master_checkpoints SET read_until = greatest(read_until, :read_until)"
                    " WHERE broker = :broker AND master_account = :master_account"
                ),
                {"read_until": read_until, "broker": broker.value, "master_account": master_account},
            )

    def known_fill_ids(self, broker: Broker, master_account: MasterAccount, since: datetime) -> set[str]:
        """The ids of the account's recorded fills that were executed at or after `since`."""
        with transaction(self._engine) as connection:
            return set(
                connection.scalars(
                    select(col(MasterFillRow.fill_id)).where(
                        col(MasterFillRow.broker) == broker.value,
                        col(MasterFillRow.master_account) == master_account,
                        col(MasterFillRow.executed_at) >= since,
                    )
                )
            )

    def copies_among(self, broker: Broker, fills: Collection[AccountFill]) -> dict[str, ExecutedCopy]:
        """The copy orders that some of `fills` belong to, by fill id.

        An order is in the ledger only a moment after its execution, when the bookkeeper has written its event.
        """
        order_id, symbol = col(OrderEventRow.broker_order_id), col(OrderEventRow.symbol)
        follower_id, occurred_at = col(OrderEventRow.follower_id), col(OrderEventRow.occurred_at)
        with transaction(self._engine) as connection:
            rows = connection.execute(
                select(order_id, symbol, follower_id, func.max(occurred_at).label("occurred_at"))
                .where(
                    col(OrderEventRow.broker) == broker.value,
                    order_id.in_({fill.order_id for fill in fills}),
                )
                .group_by(order_id, symbol, follower_id)
            ).all()
        # The symbol is part of the key, because Binance numbers the orders of each symbol separately.
        copies = {(row.broker_order_id, row.symbol): ExecutedCopy(row.follower_id, row.occurred_at) for row in rows}
        found = {fill.fill_id: (fill, copies.get((fill.order_id, fill.symbol))) for fill in fills}
        return {
            fill_id: copy
            for fill_id, (fill, copy) in found.items()
            if copy is not None and abs(copy.occurred_at - fill.executed_at) <= SAME_ORDER
        }

    def record(
        self, broker: Broker, master_account: MasterAccount, observed: Sequence[ObservedFill], recorded_at: datetime
    ) -> list[MasterFill]:
        """Store the new fills among `observed` in the given order, and return them with their numbers.

        All happens in one transaction. Known fills (same account and fill id) are left out. The others get the next
        numbers, and each one changes the traded positions for the next. `recorded_at` becomes `published_at`.
        If a fill is impossible, nothing is stored, and ImpossibleFill is raised.
        """
        if not observed:
            return []
        with transaction(self._engine) as connection:
            lock_sequence(connection, broker)
            new = _without_known(connection, broker, master_account, observed)
            sequence = last_sequence(connection, broker)
            moved = {asset for o in new for asset in (*o.fill.symbol.currencies, o.fill.fee_currency)}
            positions = _traded_positions(connection, broker, master_account, moved)
            fills: list[MasterFill] = []
            rows: list[dict[str, object]] = []
            traded: list[dict[str, object]] = []
            for each in new:
                fill = each.fill
                change = apply_fill(positions, fill, each.lot)
                positions |= change.positions
                sequence += 1
                traded += [
                    {
                        "broker": broker,
                        "master_account": master_account,
                        "asset": asset,
                        "sequence": sequence,
                        "position_after": position,
                    }
                    for asset, position in change.positions.items()
                ]
                recorded = MasterFill(
                    **fill.model_dump(),
                    sequence=sequence,
                    broker=broker,
                    master_account=master_account,
                    master_equity_before=None if isinstance(each.equity_before, UnknownEquity) else each.equity_before,
                    quote_price=each.quote_price,
                    traded_position_before=change.before,
                    fraction_closed=change.fraction_closed,
                    published_at=recorded_at,
                    trace_id=uuid4().hex,
                )
                fills.append(recorded)
                rows.append(
                    recorded.model_dump(exclude={"version", "replayed"}) | {"traded_position_after": change.after}
                )
            if rows:
                connection.execute(insert(MasterFillRow), rows)
            if traded:
                connection.execute(insert(TradedPositionRow), traded)
        return fills

    def correct_fee(self, broker: Broker, master_account: MasterAccount, fill: AccountFill) -> bool:
        """Store the fee of a recorded fill as `fill` shows it now. Return whether that is a change."""
        with transaction(self._engine) as connection:
            lock_sequence(connection, broker)
            return store_correction(connection, broker, master_account, fill)

    def traded_positions(self, broker: Broker, master_account: MasterAccount, assets: set[str]) -> dict[str, Decimal]:
        """The traded positions by asset. Assets that no recorded fill has moved are left out."""
        with transaction(self._engine) as connection:
            return _traded_positions(connection, broker, master_account, assets)

    def unpublished(self, broker: Broker, limit: int = 10_000) -> list[MasterFill]:
        """The oldest fills that are recorded but not marked as published, by number, at most `limit`."""
        return self.after(broker, self.published_sequence(broker), limit)

    def after(self, broker: Broker, sequence: int, limit: int = 10_000) -> list[MasterFill]:
        """The recorded fills with numbers above `sequence`, oldest first, at most `limit`.

        Raises SequenceBroken when a number after `sequence` is missing before one of them.
        """
        with transaction(self._engine) as connection:
            rows = connection.execute(
                select(table_of(MasterFillRow))
                .where(col(MasterFillRow.broker) == broker.value, col(MasterFillRow.sequence) > sequence)
                .order_by(col(MasterFillRow.sequence))
                .limit(limit)
            ).mappings()
            fills = [_to_fill(row) for row in rows]
        for expected, fill in enumerate(fills, start=sequence + 1):
            if fill.sequence != expected:
                raise SequenceBroken(f"{broker.value}: fill {expected} is missing in the ledger before {fill.sequence}")
        return fills

    def last_sequence(self, broker: Broker) -> int:
        """The number of the broker's newest recorded fill; 0 when there is none."""
        with transaction(self._engine) as connection:
            return last_sequence(connection, broker)

    def published_sequence(self, broker: Broker) -> int:
        """The number up to which the broker's fills are known to be in the stream. 0 if none is."""
        with transaction(self._engine) as connection:
            return (
                connection.scalar(
                    select(col(PublicationRow.published_sequence)).where(col(PublicationRow.broker) == broker.value)
                )
                or 0
            )

    def mark_published(self, broker: Broker, sequence: int) -> None:
        """Store that all fills up to and including `sequence` are in the stream. The mark never moves back."""
        row = upsert(PublicationRow).values(broker=broker.value, published_sequence=sequence)
        with transaction(self._engine) as connection:
            connection.execute(
                row.on_conflict_do_update(
                    index_elements=["broker"],
                    set_={
                        "published_sequence": func.greatest(
                            col(PublicationRow.published_sequence), row.excluded.published_sequence
                        )
                    },
                )
            )


def _without_known(
    connection: Connection, broker: Broker, master_account: MasterAccount, observed: Sequence[ObservedFill]
) -> list[ObservedFill]:
    by_id: dict[str, ObservedFill] = {}
    for each in observed:
        by_id.setdefault(each.fill.fill_id, each)
    known = set(
        connection.scalars(
            select(col(MasterFillRow.fill_id)).where(
                col(MasterFillRow.broker) == broker.value,
                col(MasterFillRow.master_account) == master_account,
                col(MasterFillRow.fill_id).in_(list(by_id)),
            )
        )
    )
    return [each for fill_id, each in by_id.items() if fill_id not in known]


def _traded_positions(
    connection: Connection, broker: Broker, master_account: MasterAccount, assets: set[str]
) -> dict[str, Decimal]:
    asked = {"broker": broker.value, "master_account": master_account, "assets": sorted(assets)}
    return {row.asset: row.position for row in connection.execute(POSITIONS, asked)}


def _to_fill(row: RowMapping) -> MasterFill:
    fields = dict(row)
    del fields["traded_position_after"]
    return MasterFill.model_validate(fields)
