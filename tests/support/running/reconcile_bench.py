"""Reconciles with a worker and a bookkeeper at work: real Redis, real PostgreSQL, an account in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import Engine

from shared.actions.reconciliation import Reconciliation, ReconciliationReport
from shared.brokers.port.orders import OrderReport, OrderStatus
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.targets import Targets
from tests.support.examples import an_order
from tests.support.ledger_examples import a_batch, a_decision
from tests.support.running.worker_bench import CREDENTIALS, KEYS, WorkerBench


async def work(bench: WorkerBench, ledger: Ledger, stopping: asyncio.Event) -> None:
    """Be the worker and the bookkeeper."""
    while not stopping.is_set():
        for claimed in (await bench.mailboxes.claim(10))[1]:
            await bench.serving.follower(claimed, CREDENTIALS)
        await asyncio.to_thread(ledger.write, await bench.events())
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def working(bench: WorkerBench, engine: Engine) -> AsyncIterator[None]:
    """While a worker and a bookkeeper run."""
    stopping = asyncio.Event()
    task = asyncio.create_task(work(bench, Ledger(engine), stopping))
    try:
        yield
    finally:
        stopping.set()
        await task


async def reconciled(
    redis: Redis, engine: Engine, *, repair: bool = False, follower: str | None = None, timeout_seconds: float = 10
) -> ReconciliationReport:
    """What the command finds."""
    asked = Reconciliation(redis, KEYS, Targets(engine), actor="cli:test", timeout_seconds=timeout_seconds)
    return await asked.run(None if follower is None else [follower], repair=repair)


async def bought(bench: WorkerBench, engine: Engine) -> None:
    """Alice has copied 0.001 BTC, and the ledger knows."""
    await bench.deliver(an_order())
    await bench.serve()
    Ledger(engine).write([a_batch(a_decision()), *await bench.events()])


def an_open_order(broker_order_id: str, client_order_id: str | None, **changes: Any) -> OrderReport:
    """A limit order for 0.01 BTC of which nothing is executed."""
    fields: dict[str, Any] = {
        "broker_order_id": BrokerOrderId(broker_order_id),
        "client_order_id": client_order_id,
        "symbol": "BTC/USD",
        "side": Side.SELL,
        "status": OrderStatus.OPEN,
        "quantity": Decimal("0.01"),
    }
    return OrderReport(**{**fields, **changes})
