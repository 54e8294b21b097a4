"""Stores the traders of master accounts: the cycles that were taken, the decisions, and the strategy's positions.

A cycle is taken by one statement, so that two processes never trade the same one. A decision is stored before an order
is sent. A fill moves a position once, however often it is reported.

All methods block and raise DatabaseUnavailable. Each may then be called again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine, and_, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.domain.capital.facts import ClosedTrade
from shared.domain.fill import AccountFill
from shared.domain.identity import Broker, MasterAccount
from shared.domain.strategy.decision import StrategyDecision, from_values, to_values
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.trader_state import TraderState
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction
from shared.persistence.stored_traders import StoredDecision, StoredPosition, StoredTrader, UnfinishedDecision
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.strategy import StrategyExecutionRow
from shared.persistence.tables.traders import StrategyDecisionRow, StrategyPositionRow, StrategyTraderRow

HOLDS_KEPT_FOR: Final = timedelta(days=8)
"""A decision to do nothing is deleted after this time. Entries and exits stay."""
CLOSED_READ: Final = 200
"""The newest closed positions that are read, for win rates and for losses in a row."""

NO_CYCLE: Final = -1
"""The newest cycle of a trader that has taken none yet."""
NOT_SENT: Final = "not sent: "
"""How the outcome of a decision begins that was not begun to be executed. The reason follows."""
NEVER_SENT: Final = f"{NOT_SENT}the process ended before"
"""The outcome of a decision that an earlier process stored, and did not begin to execute."""
NOT_COUNTED: Final = "not counted as a trade: "
"""How the reason of a written-off position begins that was never large enough to be sold. It is no loss."""

_TRADERS, _DECISIONS = table_of(StrategyTraderRow), table_of(StrategyDecisionRow)
_POSITIONS, _EXECUTIONS = table_of(StrategyPositionRow), table_of(StrategyExecutionRow)
_POSITION: Final[TypeAdapter[StrategyPosition]] = TypeAdapter(StrategyPosition)


class TraderStore:
    """The traders in PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[StoredTrader]:
        """Every trader that has taken a cycle."""
        wanted = select(_TRADERS).where(_TRADERS.c.cycle != NO_CYCLE).order_by(_TRADERS.c.broker)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted).mappings()
            return [StoredTrader.model_validate(dict(row)) for row in rows]

    def decisions(self, broker: Broker) -> list[StoredDecision]:
        """All decisions on a broker's master account that are still stored, oldest first."""
        wanted = select(_DECISIONS).filter_by(broker=broker.value).order_by(_DECISIONS.c.decided_at)
        with transaction(self._engine) as connection:
            return [StoredDecision.model_validate(dict(row)) for row in connection.execute(wanted).mappings()]

    def of(self, broker: Broker, master_account: MasterAccount) -> "TraderBooks":
        """The books of one account."""
        return TraderBooks(self._engine, broker, master_account)

    def decision(self, decision_id: str) -> StoredDecision | None:
        """A recorded decision."""
        with transaction(self._engine) as connection:
            found = connection.execute(select(_DECISIONS).filter_by(decision_id=decision_id)).mappings().one_or_none()
            return None if found is None else StoredDecision.model_validate(dict(found))


class TraderBooks:
    """What is stored of one master account's trader."""

    def __init__(self, engine: Engine, broker: Broker, master_account: MasterAccount) -> None:
        self._engine = engine
        self._name = {"broker": broker.value, "master_account": master_account}

    def claim(self, process: str, at: datetime) -> None:
        """Note that this process trades the account now. No other one begins an execution from then on."""
        first = TraderState().model_dump(mode="json")
        values = {**self._name, "cycle": NO_CYCLE, "process": process, "updated_at": at, "state": first}
        claiming = upsert(_TRADERS).values(values)
        claiming = claiming.on_conflict_do_update(index_elements=list(self._name), set_={"process": process})
        with transaction(self._engine) as connection:
            connection.execute(claiming)

    def take_cycle(self, cycle: int, process: str, at: datetime) -> TraderState | None:
        """Take a cycle for this process, and return the state before it. None: it, or a later one, is taken.

        The process that claimed the account keeps it. Otherwise, one that was paused would take the account back, and the
        sales of its successor would be refused until the successor takes a cycle.
        """
        first = TraderState().model_dump(mode="json")
        values = {**self._name, "cycle": cycle, "process": process, "updated_at": at, "state": first}
        taking = (
            upsert(_TRADERS)
            .values(values)
            .on_conflict_do_update(
                index_elements=list(self._name),
                set_={"cycle": cycle, "updated_at": at},
                where=_TRADERS.c.cycle < cycle,
            )
            .returning(_TRADERS.c.state)
        )
        with transaction(self._engine) as connection:
            state = connection.execute(taking).scalar_one_or_none()
        return None if state is None else TraderState.model_validate(state)

    def store_state(self, cycle: int, process: str, at: datetime, state: TraderState) -> bool:
        """Replace the state. False: another process has claimed the account, or taken a later cycle. Nothing was changed."""
        change = (
            update(_TRADERS)
            .filter_by(**self._name, cycle=cycle, process=process)
            .values(state=state.model_dump(mode="json"), updated_at=at)
        )
        with transaction(self._engine) as connection:
            return connection.execute(change).rowcount == 1

    def record(
        self, decision_id: str, cycle: int, symbol: Symbol, decision: StrategyDecision, candle: datetime | None
    ) -> None:
        """Store a decision. `candle`: the one whose entry decision it is. Storing it again changes nothing.

        An exit is stored with the decision that opened the position, so that its fills move no later position.
        """
        opening = select(_POSITIONS.c.decision_id).filter_by(**self._name, symbol=symbol, closed_at=None)
        values = {
            **self._name,
            "decision_id": decision_id,
            "cycle": cycle,
            "symbol": symbol,
            "kind": decision.decision,
            "candle": candle,
            "decided_at": decision.inputs.account.at,
            "decision": to_values(decision),
            "opened_by": opening.scalar_subquery() if decision.decision == "exit" else None,
        }
        with transaction(self._engine) as connection:
            connection.execute(upsert(_DECISIONS).values(values).on_conflict_do_nothing())

    def note_gate(self, decision_id: str, answer: dict[str, Any]) -> None:
        """Note what the capital gate answered to an entry."""
        self._note(decision_id, {"gate": answer})

    def note_outcome(self, decision_id: str, outcome: str) -> None:
        """Note what became of a decision."""
        self._note(decision_id, {"outcome": outcome})

    def _note(self, decision_id: str, values: dict[str, Any]) -> None:
        with transaction(self._engine) as connection:
            connection.execute(update(_DECISIONS).filter_by(decision_id=decision_id).values(values))

    def unfinished(self) -> list[UnfinishedDecision]:
        """The entries and exits whose outcome was not noted, or is contradicted by an execution. Oldest first.

        It is contradicted where one process noted that nothing was sent, and another one sent the same decision.
        """
        name = (_EXECUTIONS.c[each] == _DECISIONS.c[each] for each in (*self._name, "decision_id"))
        was_begun = exists().where(*name)
        columns = (_DECISIONS.c.decision_id, _DECISIONS.c.symbol, _DECISIONS.c.opened_by, _DECISIONS.c.decision)
        wanted = (
            select(*columns)
            .filter_by(**self._name)
            .where(_DECISIONS.c.kind != "hold")
            .where(or_(_DECISIONS.c.outcome.is_(None), and_(_DECISIONS.c.outcome.startswith(NOT_SENT), was_begun)))
            .order_by(_DECISIONS.c.decided_at)
        )
        with transaction(self._engine) as connection:
            return [UnfinishedDecision(*row) for row in connection.execute(wanted)]

    def forget_holds(self, now: datetime) -> None:
        """Delete old decisions to do nothing."""
        old = _DECISIONS.c.decided_at < now - HOLDS_KEPT_FOR
        with transaction(self._engine) as connection:
            connection.execute(delete(_DECISIONS).filter_by(**self._name, kind="hold").where(old))

    def decided_candles(self) -> dict[Symbol, datetime]:
        """The newest candle of each pair for which an entry was decided."""
        newest = (
            select(_DECISIONS.c.symbol, func.max(_DECISIONS.c.candle).label("candle"))
            .filter_by(**self._name)
            .where(_DECISIONS.c.candle.is_not(None))
            .group_by(_DECISIONS.c.symbol)
        )
        with transaction(self._engine) as connection:
            return {row.symbol: row.candle for row in connection.execute(newest)}

    def newest_scores(self, symbols: Sequence[Symbol]) -> dict[Symbol, int]:
        """What the newest decision with usable candles scored, 0 to 100, for each pair that has one."""
        newest = (
            select(_DECISIONS.c.decision)
            .filter_by(**self._name)
            .where(_DECISIONS.c.decision["signal"].astext.is_not(None))
            .order_by(_DECISIONS.c.decided_at.desc())
            .limit(1)
        )
        with transaction(self._engine) as connection:
            found = {symbol: connection.scalar(newest.filter_by(symbol=symbol)) for symbol in symbols}
        signals = {symbol: from_values(values).signal for symbol, values in found.items() if values is not None}
        return {symbol: signal.gate_score for symbol, signal in signals.items() if signal is not None}

    def open_positions(self) -> list[StoredPosition]:
        """The positions that are not closed, ordered by pair."""
        wanted = select(_POSITIONS).filter_by(**self._name, closed_at=None).order_by(_POSITIONS.c.symbol)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted).mappings()
            return [StoredPosition(row["decision_id"], _POSITION.validate_python(row["position"])) for row in rows]

    def closed_trades(self) -> list[ClosedTrade]:
        """The newest closed positions that count as trades, oldest first."""
        wanted = (
            select(_POSITIONS.c.net_profit, _POSITIONS.c.closed_at)
            .filter_by(**self._name)
            .where(_POSITIONS.c.closed_at.is_not(None))
            .where(func.coalesce(_POSITIONS.c.written_off, "").not_like(f"{NOT_COUNTED}%"))
            .order_by(_POSITIONS.c.closed_at.desc())
            .limit(CLOSED_READ)
        )
        with transaction(self._engine) as connection:
            found = [ClosedTrade(profit=profit, closed_at=at) for profit, at in connection.execute(wanted)]
        return found[::-1]

    def book_fills(self, decision_id: str, before: StrategyPosition, fills: Sequence[AccountFill]) -> StrategyPosition:
        """Move a position by the fills that have not moved it yet, and return it. Its first fill stores it.

        `before`: the position as it was decided, for its first fill. A position of which no lot is left is closed at
        the time of its last fill.
        """
        with transaction(self._engine) as connection:
            if fills:
                # Two processes that book the first fill wait for each other here. Otherwise the later one, if it was
                # paused, could put its position in the place of one that has moved on.
                self._store(connection, decision_id, before, [], None, replaces=False)
            return self._moved(connection, decision_id, self._locked(connection, decision_id) or (before, []), fills)

    def book_sale(self, opened_by: str, fills: Sequence[AccountFill]) -> StrategyPosition | None:
        """Move the position that a decision opened by the fills that have not moved it yet. None: there is none.

        A position that is closed stays closed.
        """
        with transaction(self._engine) as connection:
            found = self._locked(connection, opened_by)
            return None if found is None else self._moved(connection, opened_by, found, fills)

    def _moved(
        self,
        connection: Connection,
        decision_id: str,
        found: tuple[StrategyPosition, list[str]],
        fills: Sequence[AccountFill],
    ) -> StrategyPosition:
        position, booked = found
        new = [fill for fill in fills if fill.fill_id not in booked]
        for fill in new:
            position = position.after_fill(fill)
        if new:
            closed = select(_POSITIONS.c.closed_at).filter_by(**self._name, decision_id=decision_id)
            closed_at = connection.scalar(closed) or (None if position.is_open else new[-1].executed_at)
            self._store(connection, decision_id, position, booked + [fill.fill_id for fill in new], closed_at)
        return position

    def raise_stop(self, decision_id: str, moved: StrategyPosition) -> None:
        """Store that a close has moved the stop. A position that was closed meanwhile stays as it is."""
        with transaction(self._engine) as connection:
            found = self._locked(connection, decision_id, only_open=True)
            if found is None:
                return
            passed = found[0].passed_first_target or moved.passed_first_target
            position = _POSITION.validate_python(
                {**_POSITION.dump_python(found[0].with_stop(moved.stop)), "passed_first_target": passed}
            )
            self._store(connection, decision_id, position, found[1], None)

    def write_off(self, decision_id: str, at: datetime, why: str) -> None:
        """Close a position that cannot be sold, and store why. What was not sold counts as lost.

        A reason that begins with NOT_COUNTED closes it without a trade. A position that is closed stays as it is.
        """
        with transaction(self._engine) as connection:
            found = self._locked(connection, decision_id, only_open=True)
            if found is not None:
                self._store(connection, decision_id, found[0], found[1], at)
                why_closed = update(_POSITIONS).filter_by(**self._name, decision_id=decision_id)
                connection.execute(why_closed.values(written_off=why))

    def _locked(
        self, connection: Connection, decision_id: str, *, only_open: bool = False
    ) -> tuple[StrategyPosition, list[str]] | None:
        wanted = select(_POSITIONS).filter_by(**self._name, decision_id=decision_id).with_for_update()
        if only_open:
            # A position that was written off still has a quantity.
            wanted = wanted.where(_POSITIONS.c.closed_at.is_(None))
        row = connection.execute(wanted).mappings().one_or_none()
        return None if row is None else (_POSITION.validate_python(row["position"]), list(row["fills"]))

    def _store(
        self,
        connection: Connection,
        decision_id: str,
        position: StrategyPosition,
        booked: list[str],
        closed_at: datetime | None,
        *,
        replaces: bool = True,
    ) -> None:
        """Store a position. `replaces`: also if there is one of this decision."""
        profit: Decimal | None = None if closed_at is None else position.net_profit
        values: dict[str, Any] = {
            **self._name,
            "decision_id": decision_id,
            "symbol": position.instrument.symbol,
            "position": _POSITION.dump_python(position, mode="json"),
            "fills": booked,
            "closed_at": closed_at,
            "net_profit": profit,
        }
        key, stored = [*self._name, "decision_id"], upsert(_POSITIONS).values(values)
        connection.execute(
            stored.on_conflict_do_update(index_elements=key, set_=values)
            if replaces
            else stored.on_conflict_do_nothing(index_elements=key)
        )
