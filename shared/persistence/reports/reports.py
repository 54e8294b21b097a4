"""Questions to the ledger: filters in, rows for tables and `--json` out. Reads only.

Amounts are exact and travel as text; latencies are milliseconds. All methods block and raise DatabaseUnavailable.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, text

from shared.domain.accounts.balance import BalanceSnapshot
from shared.domain.amounts import Amount, Instant
from shared.domain.identity import Broker, FillId, FollowerId, MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction
from shared.persistence.reports import queries

STAGES: Final = ("detect", "plan", "queue", "broker", "total")
"""executed → published → decided → submitted → settled; `total` is executed → settled."""

QUEUED: Final = "queued"
"""The state of a copy order that no worker has told of yet."""

SKIPPED: Final = "skipped"
"""The state of a decision against a copy: no order was made."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class StageLatency(_Row):
    """Percentiles of one stage in milliseconds; None: nothing was measured."""

    count: int = 0
    p50: float | None = None
    p99: float | None = None


class FillReport(_Row):
    """A master fill and how it ended for its followers: copied + skipped + failed + pending = followers."""

    broker: Broker
    sequence: int
    master_account: MasterAccount
    fill_id: FillId
    symbol: Symbol
    side: str
    price: Amount
    quantity: Amount
    fraction_closed: Amount
    executed_at: Instant
    published_at: Instant
    followers: int
    copied: int
    skipped: int
    failed: int
    pending: int
    latency_ms: dict[str, StageLatency]


class OrderLine(_Row):
    """A copy order and the newest that is known of it, or a decision against one (`skipped`, with the reason)."""

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
    quantity: Amount | None
    filled_quantity: Amount
    cost: Amount
    fee: Amount
    fee_currency: str
    decided_at: Instant
    submitted_at: Instant | None
    occurred_at: Instant | None


class PositionLine(_Row):
    """A copied position: what copied fills built up, base currency."""

    broker: Broker
    follower_id: FollowerId
    symbol: Symbol
    quantity: Amount
    carried_exit: Amount
    sequence: int
    occurred_at: Instant


class AdjustmentLine(_Row):
    """A copied position that a repair lowered to what the account held; base currency."""

    broker: Broker
    follower_id: FollowerId
    symbol: Symbol
    sequence: int
    """Fill of the last order before it."""
    occurred_at: Instant
    quantity_before: Amount
    quantity_after: Amount
    carried_exit_before: Amount
    carried_exit_after: Amount
    real_quantity: Amount
    """What the account held of the coin, free or locked."""
    actor: str
    reason: str


class FollowerLine(_Row):
    """A follower and how its fills ended, all of them."""

    broker: Broker
    follower_id: FollowerId
    source: str
    status: str
    status_reason: str
    joined_sequence: int
    copied: int
    skipped: int
    failed: int
    pending: int
    equity: Amount | None
    """US dollars, of the newest snapshot in the ledger."""
    equity_at: Instant | None


class ReasonCount(_Row):
    """How many followers' fills ended so."""

    broker: Broker
    outcome: str
    reason: str
    count: int


class CopyLine(_Row):
    """What one follower decided and did for one fill: what an audit compares with the broker's own log."""

    broker: Broker
    sequence: int
    follower_id: FollowerId
    copy_order_id: str
    symbol: Symbol
    side: str
    skip_reason: str | None
    quantity: Amount | None
    fraction: Amount | None
    equity: Amount | None
    carried_after: Amount
    outcome: str | None
    """Of the order; None: it has no final state yet, or none was ordered."""
    filled_quantity: Amount
    position_after: Amount
    carried_exit_after: Amount


class Reports:
    """What the command line and the dashboard show of the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def fills(self, broker: Broker | None = None, *, after_sequence: int = 0, limit: int = 20) -> list[FillReport]:
        """The newest fills with numbers above `after_sequence`, newest first."""
        asked = {"broker": broker, "after_sequence": after_sequence, "limit": limit}
        rows = self._rows(queries.FILLS, asked)
        latencies: dict[tuple[str, int], dict[str, StageLatency]] = {}
        for row in self._rows(queries.LATENCY_PER_FILL, _keys(rows)):
            latencies.setdefault((row["broker"], row["sequence"]), {})[row["stage"]] = _stage(row)
        return [
            FillReport(**row, latency_ms=_all_stages(latencies.get((row["broker"], row["sequence"]), {})))
            for row in rows
        ]

    def latency(
        self, broker: Broker | None = None, *, after_sequence: int = 0, limit: int = 1000
    ) -> dict[str, StageLatency]:
        """Percentiles per stage over all followers of the newest fills with numbers above `after_sequence`."""
        asked = {"broker": broker, "after_sequence": after_sequence, "limit": limit}
        return _all_stages({row["stage"]: _stage(row) for row in self._rows(queries.LATENCY, asked)})

    def orders(
        self,
        broker: Broker | None = None,
        *,
        follower_id: FollowerId | None = None,
        sequence: int | None = None,
        state: str | None = None,
        limit: int = 50,
    ) -> list[OrderLine]:
        """The copy orders of the newest fills first. `state`: an OrderState, `queued` or `skipped`.

        What was skipped by decision is there when a follower, a fill or that state is asked for: in a list of
        everything, it would hide the orders.
        """
        asked = {
            "broker": broker,
            "follower_id": follower_id,
            "sequence": sequence,
            "state": state,
            "skipped": follower_id is not None or sequence is not None or state == SKIPPED,
            "limit": limit,
        }
        return [OrderLine(**row) for row in self._rows(queries.ORDERS, asked)]

    def positions(
        self,
        broker: Broker | None = None,
        *,
        follower_id: FollowerId | None = None,
        symbol: Symbol | None = None,
        closed: bool = False,
    ) -> list[PositionLine]:
        """The copied positions by follower and symbol; those of quantity 0 only when `closed`."""
        asked = {"broker": broker, "follower_id": follower_id, "symbol": symbol, "closed": closed}
        return [PositionLine(**row) for row in self._rows(queries.POSITIONS, asked)]

    def adjustments(
        self, broker: Broker | None = None, *, follower_id: FollowerId | None = None
    ) -> list[AdjustmentLine]:
        """Every repair of a copied position, newest first."""
        asked = {"broker": broker, "follower_id": follower_id}
        return [AdjustmentLine(**row) for row in self._rows(queries.ADJUSTMENTS, asked)]

    def followers(self, broker: Broker | None = None, *, follower_id: FollowerId | None = None) -> list[FollowerLine]:
        """The followers that are not removed, with how their fills ended."""
        return [
            FollowerLine(**row) for row in self._rows(queries.FOLLOWERS, {"broker": broker, "follower_id": follower_id})
        ]

    def balances(self, broker: Broker) -> dict[str, BalanceSnapshot]:
        """The newest balance of each account that the ledger has; stale, because Redis may have newer ones."""
        return {
            row.pop("user_id"): BalanceSnapshot(**row, stale=True)
            for row in self._rows(queries.BALANCES, {"broker": broker})
        }

    def statuses(self) -> dict[Broker, dict[str, int]]:
        """How many followers of each broker are in which status; only what there is."""
        counted: dict[Broker, dict[str, int]] = {}
        for row in self._rows(queries.STATUSES, {}):
            counted.setdefault(Broker(row["broker"]), {})[row["status"]] = row["count"]
        return counted

    def reasons(self, broker: Broker | None = None, *, after_sequence: int = 0) -> list[ReasonCount]:
        """Why fills were skipped or failed, most frequent first."""
        asked = {"broker": broker, "after_sequence": after_sequence}
        return [ReasonCount(**row) for row in self._rows(queries.REASONS, asked)]

    def copies(self, broker: Broker) -> list[CopyLine]:
        """Every decision of a broker with the order's end, by fill and follower. All of them: for audits."""
        return [CopyLine(**row) for row in self._rows(queries.COPIES, {"broker": broker})]

    def _rows(self, query: str, parameters: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
        values = {name: value.value if isinstance(value, Broker) else value for name, value in parameters.items()}
        with transaction(self._engine) as connection:
            # Compiling takes longer than these queries do.
            connection.execute(text("SET LOCAL jit = off"))
            return [dict(row) for row in connection.execute(text(query), values).mappings()]


def _keys(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"brokers": [row["broker"] for row in rows], "sequences": [row["sequence"] for row in rows]}


def _stage(row: Mapping[str, Any]) -> StageLatency:
    return StageLatency(count=row["count"], p50=round(row["p50"], 3), p99=round(row["p99"], 3))


def _all_stages(measured: Mapping[str, StageLatency]) -> dict[str, StageLatency]:
    return {stage: measured.get(stage, StageLatency()) for stage in STAGES}
