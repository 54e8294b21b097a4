"""A stop holds in the real processes: each sees it within two seconds, and it outlives kill -9 of all of them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from shared.domain.copying.master_fill import MasterFill
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.stop import StopMode, StopScope
from shared.messaging.fills import publish_fill
from shared.messaging.keys import LAST_POLL_FIELD
from shared.persistence.database import open_engine
from shared.persistence.stops import StopStore
from tests.contract.paper import PaperServer
from tests.support.examples import a_fill, an_account, an_instrument
from tests.support.prices import store_accounts
from tests.support.running.stages import KEYS, Stages

pytestmark = pytest.mark.long

NAMES = ("bookkeeper", "copy_engine", "broker_worker-kraken")
FOLLOWERS = ["f0", "f1"]
SEEN_SECONDS = 2.0


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperServer]:
    """A separate paper Kraken with a pinned price."""
    server = PaperServer(Broker.KRAKEN, tmp_path)
    server.pin_price("BTC/USD", "50000")
    yield server
    server.stop()


@pytest.fixture
async def stages(
    paper: PaperServer, fresh_redis_url: str, fresh_database_url: str, tmp_path: Path
) -> AsyncIterator[Stages]:
    """The servers, and two followers with an account that was read."""
    stages = await Stages.around(paper, fresh_redis_url, fresh_database_url, tmp_path, FOLLOWERS)
    account = an_account("1000", datetime.now(UTC))
    await store_accounts(stages.redis, KEYS, dict.fromkeys(FOLLOWERS, account))
    await stages.redis.hset(KEYS.instruments, "BTC/USD", an_instrument().model_dump_json())
    await stages.redis.hset(KEYS.master, LAST_POLL_FIELD, "now")
    yield stages
    await stages.close()


@pytest.fixture
def engine(stages: Stages) -> Iterator[Engine]:
    """The ledger of the stages."""
    engine = open_engine(stages.settings.required_database_url(), pool_size=1)
    yield engine
    engine.dispose()


async def change(engine: Engine, mode: StopMode | None) -> None:
    """Stop or resume like a command that is killed right after its commit, and wait until it has to be seen."""
    await asyncio.to_thread(StopStore(engine).change, StopScope(), mode, actor="test", reason="")
    await asyncio.sleep(SEEN_SECONDS)


async def publish(stages: Stages, sequence: int, side: Side = Side.BUY) -> None:
    """The master buys, or sells half of its position."""
    now = datetime.now(UTC)
    sale = {"traded_position_before": "1", "fraction_closed": "0.5"} if side is Side.SELL else {}
    fill: MasterFill = a_fill(
        sequence=sequence, fill_id=f"T{sequence}", side=side, executed_at=now, published_at=now, **sale
    )
    await publish_fill(stages.redis, KEYS, fill)


async def test_a_halt_outlives_every_process_and_loses_no_exit(
    stages: Stages, engine: Engine, paper: PaperServer
) -> None:
    """Before the halt, both followers buy. During it, an open is skipped and an exit waits, also after kill -9 of every
    process. After it, the exit is sent once.
    """

    async def copied(orders: int) -> bool:
        return all(len(paper.orders_of(name)) == orders for name in FOLLOWERS)

    async def skipped_second() -> bool:
        query = text("SELECT skip_reason FROM decisions WHERE sequence = 2")
        with engine.connect() as connection:
            return connection.execute(query).scalars().all() == ["stopped"] * len(FOLLOWERS)

    async def exits_wait() -> bool:
        return all([await stages.redis.llen(KEYS.mailbox(name)) == 1 for name in FOLLOWERS])

    await asyncio.gather(*(stages.start(name) for name in NAMES))
    await publish(stages, 1)
    await stages.until("both followers have bought", lambda: copied(1))
    await change(engine, StopMode.HALT)
    await publish(stages, 2)
    await publish(stages, 3, Side.SELL)
    await stages.until("the open is skipped", skipped_second)
    await stages.until("the exits wait", exits_wait)
    for process in stages.started:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait_end()
    await asyncio.gather(*(stages.start(name, 2) for name in NAMES))
    await asyncio.sleep(SEEN_SECONDS)
    assert await exits_wait()
    assert await copied(1)
    await change(engine, None)
    await stages.until("both followers have sold", lambda: copied(2))
    assert [order["side"] for name in FOLLOWERS for order in paper.orders_of(name)] == ["buy", "sell"] * 2
