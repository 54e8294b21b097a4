"""Reads and stores what the strategy has ordered and filled on one master account, from tables of its own."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, and_, exists, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.domain.amounts import ZERO
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import StrategyOutcome
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker, DecisionId, FillId, MasterAccount
from shared.domain.strategy.execution.holdings import holdings_of
from shared.domain.strategy.execution.orders import StrategyOrder
from shared.domain.strategy.execution.plans import SalePlan, StrategyPlan, plan_of
from shared.domain.strategy.execution.results import (
    ExecutionPurpose,
    ExecutionResult,
    ExecutionUnderWay,
    NotBegun,
    StrategyHolding,
)
from shared.domain.strategy.execution.schedule import StrategyChild, StrategyExecution
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.strategy import (
    StrategyExecutionRow,
    StrategyOrderEventRow,
    StrategyOrderRow,
    StrategyResultRow,
)
from shared.persistence.tables.traders import StrategyTraderRow

_EXECUTIONS, _ORDERS = table_of(StrategyExecutionRow), table_of(StrategyOrderRow)
_EVENTS, _RESULTS = table_of(StrategyOrderEventRow), table_of(StrategyResultRow)
_TRADERS = table_of(StrategyTraderRow)
_FINAL = _EVENTS.c.outcome.is_not(None)

_GOES_ON = frozenset({SkipReason.TOO_OLD, SkipReason.PRICE_LIMIT, SkipReason.EXIT_FOLLOWED, FailReason.CANCELED})
"""Reasons after which the next order of the plan may follow. After any other one, the same would happen again.

An entry whose own symbol is sold ends because of that sale, and not because of this reason.
"""


class TraderReplaced(NotBegun):
    """Another process has taken over the account."""


class StrategyBooks:
    """The strategy's own orders on one master account. Methods block, and raise DatabaseUnavailable."""

    def __init__(
        self, engine: Engine, broker: Broker, master_account: MasterAccount, process: str | None = None
    ) -> None:
        """`process`: begin executions only while this process is the trader of the account. None: always."""
        self._engine = engine
        self._process = process
        self._broker = broker
        self._master_account = master_account
        self._name = {"broker": broker.value, "master_account": master_account}

    # What has become of the orders

    def fills(self, symbol: Symbol | None = None) -> list[AccountFill]:
        """What the strategy's orders have filled, oldest first: one fill for each order, with the sums of the order.

        `fill_id` is the client order id, and `executed_at` is when the order was settled.
        """
        with transaction(self._engine) as connection:
            return self._fills(connection, symbol=symbol)

    def last_fill_at(self) -> datetime | None:
        """When the strategy's newest order that filled something was settled; None: there is none."""
        newest = select(func.max(_EVENTS.c.occurred_at)).filter_by(**self._name)
        with transaction(self._engine) as connection:
            found: datetime | None = connection.scalar(newest.where(_FINAL, _EVENTS.c.filled_quantity > 0))
            return found

    def holdings(self) -> Mapping[Symbol, StrategyHolding]:
        """What the strategy holds by its own fills. Symbols of which it holds nothing are left out."""
        return holdings_of(self.fills())

    def under_way(self) -> list[ExecutionUnderWay]:
        """The executions that have begun and have not ended, oldest first."""
        wanted = (
            select(_EXECUTIONS)
            .filter_by(**self._name)
            .where(~exists().where(_same_decision(_RESULTS)))
            .order_by(_EXECUTIONS.c.started_at, _EXECUTIONS.c.decision_id)
        )
        with transaction(self._engine) as connection:
            return [
                ExecutionUnderWay(
                    decision_id=row.decision_id,
                    symbol=row.symbol,
                    purpose=ExecutionPurpose(row.purpose),
                    quantity=row.quantity,
                    started_at=row.started_at,
                )
                for row in connection.execute(wanted)
            ]

    def result(self, decision_id: DecisionId) -> ExecutionResult | None:
        """The result of an execution; None: it has not ended, or was never begun."""
        decision = {**self._name, "decision_id": decision_id}
        with transaction(self._engine) as connection:
            ended = connection.execute(select(_RESULTS).filter_by(**decision)).one_or_none()
            if ended is None:
                return None
            begun = connection.execute(select(_EXECUTIONS).filter_by(**decision)).one()
            return ExecutionResult(
                decision_id=decision_id,
                symbol=begun.symbol,
                side=Side(begun.side),
                quantity=begun.quantity,
                message=ended.message,
                fills=tuple(self._fills(connection, decision_id=decision_id)),
                ended_at=ended.ended_at,
                lacked_funds=connection.scalar(_last_reason(decision)) == FailReason.INSUFFICIENT_FUNDS.value,
            )

    # What the executor stores

    def begin(self, decision_id: DecisionId, plan: StrategyPlan, started_at: datetime) -> None:
        """Store that an execution begins. Does nothing if the decision was begun before: its first plan stands.

        Raises TraderReplaced if another process trades the account now, and then stores nothing.
        """
        purpose = ExecutionPurpose.EXIT if isinstance(plan, SalePlan) else ExecutionPurpose.ENTRY
        values = {
            **self._name,
            "decision_id": decision_id,
            "purpose": purpose.value,
            "symbol": plan.instrument.symbol,
            "side": plan.side.value,
            "method": str(plan.method),
            "quantity": plan.quantity,
            "plan": plan.model_dump(mode="json"),
            "started_at": started_at,
        }
        with transaction(self._engine) as connection:
            if self._process is not None and not connection.scalar(self._locked_trader()):
                raise TraderReplaced("another process trades the account now")
            connection.execute(upsert(_EXECUTIONS).values(values).on_conflict_do_nothing())

    def _locked_trader(self) -> Select[tuple[str]]:
        """The row of the trader, if it is this process. No other process replaces it before the transaction ends."""
        trader = select(_TRADERS.c.process).filter_by(**self._name, process=self._process)
        return trader.with_for_update(read=True)

    def execution(self, decision_id: DecisionId) -> StrategyExecution:
        """How far a decision that was begun has been executed, by the ledger."""
        decision = {**self._name, "decision_id": decision_id}
        with transaction(self._engine) as connection:
            begun = connection.execute(select(_EXECUTIONS).filter_by(**decision)).one()
            orders = connection.execute(
                select(_ORDERS, _EVENTS.c.outcome, _EVENTS.c.reason, _EVENTS.c.message, _EVENTS.c.filled_quantity)
                .outerjoin(_EVENTS, and_(_EVENTS.c.order_id == _ORDERS.c.order_id, _FINAL))
                .where(*(_ORDERS.c[name] == value for name, value in decision.items()))
                .order_by(_ORDERS.c.number)
            ).mappings()
            plan = plan_of(begun.method, begun.plan)
            children = tuple(map(_child, orders))
            held = ZERO
            # A sale that waits for an order is read four times in a second, and needs no sum of all fills.
            if isinstance(plan, SalePlan) and all(child.is_final for child in children):
                holding = holdings_of(self._fills(connection, symbol=begun.symbol)).get(begun.symbol)
                held = holding.quantity if holding else ZERO
            return StrategyExecution(
                decision_id=decision_id,
                plan=plan,
                started_at=begun.started_at,
                children=children,
                is_overtaken=self._is_overtaken(connection, begun.symbol, begun.started_at),
                held=held,
            )

    def add_order(self, order: StrategyOrder) -> None:
        """Store an order before it is put into the mailbox. Does nothing if the number was used before."""
        values = order.model_dump(include={column.name for column in _ORDERS.columns}) | {"order_id": order.id}
        with transaction(self._engine) as connection:
            connection.execute(upsert(_ORDERS).values(values).on_conflict_do_nothing())

    def order(self, decision_id: DecisionId, number: int, replayed_at: datetime) -> StrategyOrder:
        """A stored order, marked as replayed at that moment."""
        wanted = select(_ORDERS).filter_by(**self._name, decision_id=decision_id, number=number)
        with transaction(self._engine) as connection:
            return replayed_order(connection.execute(wanted).mappings().one(), replayed_at)

    def end(self, decision_id: DecisionId, message: str, ended_at: datetime) -> None:
        """Store that no order follows. Does nothing if the execution has ended before."""
        values = {**self._name, "decision_id": decision_id, "message": message, "ended_at": ended_at}
        with transaction(self._engine) as connection:
            connection.execute(upsert(_RESULTS).values(values).on_conflict_do_nothing())

    def _fills(
        self, connection: Connection, *, symbol: Symbol | None = None, decision_id: DecisionId | None = None
    ) -> list[AccountFill]:
        wanted = select(_EVENTS).filter_by(**self._name).where(_FINAL, _EVENTS.c.filled_quantity > 0)
        if symbol is not None:
            wanted = wanted.where(_EVENTS.c.symbol == symbol)
        if decision_id is not None:
            wanted = wanted.where(_EVENTS.c.decision_id == decision_id)
        return [_fill(row) for row in connection.execute(wanted.order_by(_EVENTS.c.id)).mappings()]

    def _is_overtaken(self, connection: Connection, symbol: Symbol, started_at: datetime) -> bool:
        sales = (
            select(func.count())
            .select_from(_EXECUTIONS)
            .filter_by(**self._name, symbol=symbol, purpose=ExecutionPurpose.EXIT.value)
            .where(_EXECUTIONS.c.started_at >= started_at)
        )
        return bool(connection.scalar(sales))


def replayed_order(row: RowMapping, replayed_at: datetime) -> StrategyOrder:
    """The order of a row, marked as replayed."""
    return StrategyOrder(**{**row, "id": row["order_id"], "decided_at": replayed_at, "replayed": True})


def _last_reason(decision: Mapping[str, str]) -> Select[Any]:
    """The reason of the newest final event of a decision."""
    final = select(_EVENTS.c.reason).filter_by(**decision).where(_FINAL)
    return final.order_by(_EVENTS.c.number.desc()).limit(1)


def _same_decision(table: Any) -> Any:
    return and_(*(table.c[name] == _EXECUTIONS.c[name] for name in ("broker", "master_account", "decision_id")))


def _child(row: RowMapping) -> StrategyChild:
    outcome, reason = row["outcome"], row["reason"]
    may_go_on = outcome in (None, StrategyOutcome.FILLED.value) or reason in _GOES_ON
    return StrategyChild(
        number=row["number"],
        quantity=row["quantity"],
        placed_at=row["placed_at"],
        is_final=outcome is not None,
        filled=row["filled_quantity"] or ZERO,
        stops="" if may_go_on else f"{reason}: {row['message']}".rstrip(": "),
    )


def _fill(row: RowMapping) -> AccountFill:
    quantity, cost = row["filled_quantity"], row["cost"]
    return AccountFill(
        fill_id=FillId(row["order_id"]),
        order_id=row["broker_order_id"] or "",
        symbol=row["symbol"],
        side=Side(row["side"]),
        price=cost / quantity,
        quantity=quantity,
        cost=cost,
        fee=row["fee"],
        fee_currency=row["fee_currency"],
        executed_at=row["occurred_at"],
    )
