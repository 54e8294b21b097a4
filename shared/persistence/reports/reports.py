"""Reads the ledger for queries and actions: fills, orders, positions, repairs and followers.

In JSON, amounts are exact and written as text. Latencies are in milliseconds. All methods block, and raise
DatabaseUnavailable.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, text

from shared.domain.accounts.balance import BalanceSnapshot
from shared.domain.amounts import Amount, Instant
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FillId, FollowerId, MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction
from shared.persistence.reports import queries
from shared.persistence.reports.order_lines import OrderLine, order_line
from shared.persistence.reports.page_keys import FillKey, FollowerKey, OrderKey, PageKey, PositionKey

STAGES: Final = ("detect", "plan", "queue", "broker", "total")
"""The spans between executed, published, decided, submitted and settled. `total` is from executed to settled."""

QUEUED: Final = "queued"
"""The state of a copy order for which no worker has written an event yet."""

SKIPPED: Final = "skipped"
"""The state of a decision to skip a fill. There is no order."""


_FillName = tuple[str, int]
"""Broker and sequence."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class StageLatency(_Row):
    """Percentiles of one span in milliseconds. None: nothing was measured."""

    count: int = 0
    p50: float | None = None
    p99: float | None = None


class RecordedFill(_Row):
    """A master fill as it was recorded."""

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


class FillReport(RecordedFill):
    """A master fill and its results for the followers: copied + skipped + failed + pending = followers."""

    followers: int
    copied: int
    skipped: int
    failed: int
    pending: int
    skipped_by_reason: dict[str, int]
    """Reason → number of followers, the most frequent one first."""
    failed_by_reason: dict[str, int]
    latency_ms: dict[str, StageLatency]


class PositionLine(_Row):
    """A copied position in an asset."""

    broker: Broker
    follower_id: FollowerId
    asset: str
    quantity: Amount
    carried_exit: Amount
    """What exits left to the next exit, also if it is too small for an order."""
    sequence: int
    occurred_at: Instant
    owed: Amount | None = None
    """How much of `carried_exit` an order could sell now. None: Redis, which has the minimums, does not answer."""
    owed_since: Instant | None = None
    """None: nothing is owed, or it is not known."""
    owed_because: str | None = None
    """Why the last exit did not sell it."""


class AdjustmentLine(_Row):
    """A repair that lowered a copied position to the quantity that the account held."""

    broker: Broker
    follower_id: FollowerId
    asset: str
    sequence: int
    """The fill of the last order before the repair."""
    occurred_at: Instant
    quantity_before: Amount
    quantity_after: Amount
    carried_exit_before: Amount
    carried_exit_after: Amount
    real_quantity: Amount
    """The quantity of the asset that the account held, free or in open orders."""
    actor: str
    reason: str


class FollowerLine(_Row):
    """A follower and the results of all its fills."""

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
    """In US dollars, from the newest snapshot in the ledger."""
    equity_at: Instant | None


class ReasonCount(_Row):
    """The number of fills, over all followers, with one outcome and reason."""

    broker: Broker
    outcome: str
    reason: str
    count: int


class CopyLine(_Row):
    """The decision and the order of one follower for one fill. An audit compares it with the log of the broker."""

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
    """The final state of the order. None: it has none yet, or there is no order."""
    reason: str | None = None
    """The reason of that final state, if it is not copied."""
    ended_at: Instant | None = None
    """The time of that final state."""
    filled_quantity: Amount
    position_after: Amount
    carried_exit_after: Amount


class Reports:
    """The reports that queries and actions return. It only reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def fills(
        self, broker: Broker | None = None, *, after_sequence: int = 0, after: FillKey | None = None, limit: int = 20
    ) -> list[FillReport]:
        """The newest fills with numbers above `after_sequence`, newest first. `after`: only those behind it in the list."""
        asked = {"broker": broker, "after_sequence": after_sequence, "limit": limit, **_behind(FillKey, after)}
        rows = self._rows(queries.FILLS, asked)
        keys = _keys(rows)
        latencies: dict[_FillName, dict[str, StageLatency]] = {}
        for row in self._rows(queries.LATENCY_PER_FILL, keys):
            latencies.setdefault((row["broker"], row["sequence"]), {})[row["stage"]] = _stage(row)
        reasons: dict[_FillName, dict[str, dict[str, int]]] = {}
        for row in self._rows(queries.REASONS_PER_FILL, keys):
            counts = reasons.setdefault((row["broker"], row["sequence"]), {}).setdefault(row["outcome"], {})
            counts[row["reason"]] = row["count"]
        return [
            FillReport(
                **row,
                skipped_by_reason=reasons.get(name, {}).get("skipped", {}),
                failed_by_reason=reasons.get(name, {}).get("failed", {}),
                latency_ms=_all_stages(latencies.get(name, {})),
            )
            for row in rows
            for name in [(row["broker"], row["sequence"])]
        ]

    def latency(
        self, broker: Broker | None = None, *, after_sequence: int = 0, limit: int = 1000
    ) -> dict[str, StageLatency]:
        """Percentiles per span, over all followers and the newest fills with numbers above `after_sequence`."""
        asked = {"broker": broker, "after_sequence": after_sequence, "limit": limit, **_behind(FillKey, None)}
        return _all_stages({row["stage"]: _stage(row) for row in self._rows(queries.LATENCY, asked)})

    def orders(
        self,
        broker: Broker | None = None,
        *,
        follower_id: FollowerId | None = None,
        sequence: int | None = None,
        state: str | None = None,
        after: OrderKey | None = None,
        limit: int = 50,
    ) -> list[OrderLine]:
        """The copy orders, those of the newest fills first. `state`: an OrderState, `queued` or `skipped`.

        `after`: only those behind it in the list.

        Decisions to skip are listed only for a given follower or fill, or for the state `skipped`. In a list of
        everything, there would be too many of them to see the orders.
        """
        asked = {
            "broker": broker,
            "follower_id": follower_id,
            "sequence": sequence,
            "state": state,
            "skipped": follower_id is not None or sequence is not None or state == SKIPPED,
            "limit": limit,
            **_behind(OrderKey, after),
        }
        return [order_line(row) for row in self._rows(queries.ORDERS, asked)]

    def positions(
        self,
        broker: Broker | None = None,
        *,
        follower_id: FollowerId | None = None,
        among: Collection[FollowerId] | None = None,
        asset: str | None = None,
        closed: bool = False,
        after: PositionKey | None = None,
        limit: int | None = None,
    ) -> list[PositionLine]:
        """The copied positions by follower and asset. Those with quantity 0 are listed only if `closed` is set.

        `among`: only of these followers. `after`: only those behind it in the list.
        """
        asked = {
            "broker": broker,
            "follower_id": follower_id,
            "among": None if among is None else list(among),
            "asset": asset,
            "closed": closed,
            "limit": limit,
            **_behind(PositionKey, after),
        }
        return [PositionLine(**row) for row in self._rows(queries.POSITIONS, asked)]

    def adjustments(
        self, broker: Broker | None = None, *, follower_id: FollowerId | None = None
    ) -> list[AdjustmentLine]:
        """All repairs of copied positions, newest first."""
        asked = {"broker": broker, "follower_id": follower_id}
        return [AdjustmentLine(**row) for row in self._rows(queries.ADJUSTMENTS, asked)]

    def followers(
        self,
        broker: Broker | None = None,
        *,
        follower_id: FollowerId | None = None,
        after: FollowerKey | None = None,
        limit: int | None = None,
    ) -> list[FollowerLine]:
        """The followers that are not removed, with the results of their fills. `after`: only those behind it."""
        asked = {"broker": broker, "follower_id": follower_id, "limit": limit, **_behind(FollowerKey, after)}
        return [FollowerLine(**row) for row in self._rows(queries.FOLLOWERS, asked)]

    def balances(self, broker: Broker) -> dict[str, BalanceSnapshot]:
        """The newest balance of each account in the ledger, marked stale, because Redis may have a newer one."""
        return {
            row.pop("user_id"): BalanceSnapshot(**row, stale=True)
            for row in self._rows(queries.BALANCES, {"broker": broker})
        }

    def statuses(self) -> dict[Broker, dict[str, int]]:
        """The number of followers by broker and status. Statuses without followers are left out."""
        counted: dict[Broker, dict[str, int]] = {}
        for row in self._rows(queries.STATUSES, {}):
            counted.setdefault(Broker(row["broker"]), {})[row["status"]] = row["count"]
        return counted

    def reasons(self, broker: Broker | None = None, *, after_sequence: int = 0) -> list[ReasonCount]:
        """The reasons for which fills were skipped or failed, most frequent first."""
        asked = {"broker": broker, "after_sequence": after_sequence}
        return [ReasonCount(**row) for row in self._rows(queries.REASONS, asked)]

    def copies(self, broker: Broker) -> list[CopyLine]:
        """All decisions of a broker with the results of their orders, by fill and follower, without a limit."""
        return [CopyLine(**row) for row in self._rows(queries.COPIES, {"broker": broker})]

    def _rows(self, query: str, parameters: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
        values = {name: value.value if isinstance(value, Broker) else value for name, value in parameters.items()}
        with transaction(self._engine) as connection:
            # Compiling these queries would take longer than running them.
            connection.execute(text("SET LOCAL jit = off"))
            return [dict(row) for row in connection.execute(text(query), values).mappings()]


def with_followers(statuses: Mapping[Broker, Mapping[str, int]]) -> tuple[Broker, ...]:
    """The brokers with a follower that is not removed, by `Reports.statuses`. Nothing is expected to run for others."""
    return tuple(broker for broker in Broker if statuses.get(broker, {}).keys() - {FollowerStatus.REMOVED.value})


def _behind(kind: type[PageKey], key: PageKey | None) -> dict[str, Any]:
    """The parameters of a query for the row behind which a page begins; all of them None: it is the first page."""
    return {f"key_{name}": None if key is None else getattr(key, name) for name in kind.model_fields}


def _keys(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"brokers": [row["broker"] for row in rows], "sequences": [row["sequence"] for row in rows]}


def _stage(row: Mapping[str, Any]) -> StageLatency:
    return StageLatency(count=row["count"], p50=round(row["p50"], 3), p99=round(row["p99"], 3))


def _all_stages(measured: Mapping[str, StageLatency]) -> dict[str, StageLatency]:
    return {stage: measured.get(stage, StageLatency()) for stage in STAGES}
