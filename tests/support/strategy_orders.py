"""Builds example orders of the strategy, and puts them into the mailbox of a master account on a worker's bench."""

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain.events import StrategyOrderEvent
from shared.domain.fill import Side
from shared.domain.identity import Broker, MasterAccount, mailbox_of_master, strategy_order_id
from shared.domain.instrument import TimeInForce
from shared.domain.strategy.execution.orders import StrategyOrder
from shared.domain.strategy.execution.results import ExecutionPurpose
from shared.messaging.scripts import ScriptRunner
from shared.messaging.strategy_mail import StrategyMail
from tests.support.running.stops import nothing_stopped
from tests.support.running.worker_bench import KEYS, WorkerBench

MASTER = MasterAccount("master")
MAILBOX = mailbox_of_master(MASTER)


def an_entry(decision_id: str = "d1", number: int = 1, **changes: Any) -> StrategyOrder:
    """A purchase of 0.001 BTC at 50,100 USD at most, made just now."""
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": strategy_order_id(Broker.KRAKEN, MASTER, decision_id, number),
        "broker": Broker.KRAKEN,
        "master_account": MASTER,
        "decision_id": decision_id,
        "number": number,
        "purpose": ExecutionPurpose.ENTRY,
        "symbol": "BTC/USD",
        "side": Side.BUY,
        "quantity": "0.001",
        "limit_price": "50100",
        "time_in_force": TimeInForce.IMMEDIATE_OR_CANCEL,
        "placed_at": now,
        "expires_at": now + timedelta(seconds=60),
        "decided_at": now,
    }
    return StrategyOrder(**{**fields, **changes})


def a_strategy_sale(decision_id: str = "s1", **changes: Any) -> StrategyOrder:
    """A sale of 0.001 BTC at the market."""
    sale = {"purpose": ExecutionPurpose.EXIT, "side": Side.SELL, "limit_price": None, "time_in_force": None}
    return an_entry(decision_id, **{**sale, **changes})


async def put(bench: WorkerBench, *orders: StrategyOrder) -> list[bool]:
    """Put the orders into the master's mailbox, as the executor does."""
    if bench.has_stop_state:
        await nothing_stopped(bench.redis, KEYS)
    mail = StrategyMail(bench.redis, ScriptRunner(bench.redis), KEYS)
    version = await mail.roster_version()
    return [await mail.put(order, None if order.replayed else version) for order in orders]


async def strategy_events(bench: WorkerBench) -> list[StrategyOrderEvent]:
    """All events of orders of the strategy."""
    return [event for event in await bench.events() if isinstance(event, StrategyOrderEvent)]


async def serve_strategy(bench: WorkerBench) -> list[StrategyOrderEvent]:
    """Serve until no mail is left, and return the final events."""
    await bench.serve()
    return [event for event in await strategy_events(bench) if event.outcome is not None]
