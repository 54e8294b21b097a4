"""On SIGTERM under load each stage finishes its work in flight within its grace period and leaves nothing behind.

A stage is stopped as `nija up` stops it: by SIGTERM, and by SIGKILL after the grace period, which would lead to exit
code -9. What it leaves is checked before any lease could have expired.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.local_system.embedded import run_server
from services.local_system.embedded_redis import RedisServer
from services.local_system.process import ManagedProcess
from shared.domain.events import Outcome
from shared.domain.identity import Broker
from shared.messaging.keys import EVENT_FIELD, FILL_FIELD, LEDGER_GROUP
from tests.contract.paper import PaperServer
from tests.support.examples import a_fill, an_account, an_instrument, an_order
from tests.support.ledger_examples import a_filled_event, an_order_event
from tests.support.prices import store_accounts
from tests.support.running.stages import KEYS, Stages

pytestmark = pytest.mark.long

WORKER = "broker_worker-kraken"
ENGINE = "copy_engine"
BOOKKEEPER = "bookkeeper"
MASTER = "master_trader-kraken"
FOLLOWERS = [f"f{number}" for number in range(12)]
ORDERS_EACH = 20


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
    """All servers and stages around the process under test."""
    stages = await Stages.around(paper, fresh_redis_url, fresh_database_url, tmp_path, FOLLOWERS)
    yield stages
    await stages.close()


async def stop(worker: ManagedProcess, whole_group: bool) -> None:
    """Stop the worker and check its exit code.

    With `whole_group` the children get the signal too, as from systemd or a terminal.
    """
    if not whole_group:
        assert await worker.stop() == 0
        return
    os.killpg(worker.pid, signal.SIGTERM)
    async with asyncio.timeout(worker.spec.grace_seconds):
        assert await worker.wait_end() == 0


async def no_claim_is_left(stages: Stages) -> None:
    """Check that no follower is claimed and that every follower with mail is ready."""
    redis = stages.redis
    assert (await redis.zcard(KEYS.claims), await redis.hlen(KEYS.fences)) == (0, 0)
    with_mail = {name for name in FOLLOWERS if await redis.llen(KEYS.mailbox(name))}
    assert {name.decode() for name in await redis.zrange(KEYS.ready, 0, -1)} >= with_mail


@pytest.mark.parametrize("whole_group", [False, True])
async def test_a_worker_finishes_what_is_in_flight(stages: Stages, paper: PaperServer, whole_group: bool) -> None:
    """The broker takes two seconds and mailboxes are long. Each order in flight is settled, and no other one begins."""
    paper.fault("latency", seconds=2.0, count=None, orders=True)
    orders = [an_order(name, sequence) for sequence in range(1, ORDERS_EACH + 1) for name in FOLLOWERS]
    await stages.deliver(orders)
    worker = await stages.start(WORKER)

    async def everybody_sends() -> bool:
        return len(await stages.submissions()) == len(FOLLOWERS)

    await stages.until("everybody has an order in flight", everybody_sends)
    await stop(worker, whole_group)
    await no_claim_is_left(stages)
    assert await stages.submissions() == {}
    finals = await stages.finals()
    assert {event.outcome for event in finals} == {Outcome.COPIED}
    placed = [order["client_order_id"] for name in FOLLOWERS for order in paper.orders_of(name)]
    assert len(placed) == len(set(placed)) == len(finals) < len(orders)


@pytest.mark.parametrize("whole_group", [False, True])
async def test_a_worker_whose_broker_hangs_leaves_the_order_to_the_next(
    stages: Stages, paper: PaperServer, whole_group: bool
) -> None:
    """An order without an answer and an order that fills late stay recorded. The next worker finds both."""
    stages.settings = stages.settings.model_copy(update={"request_timeout_seconds": 120.0})
    paper.fault("hang", account="f0", orders=True, executed=True)
    paper.fault("late_fill", account="f1", seconds=40.0)
    names = FOLLOWERS[:3]
    await stages.deliver([an_order(name) for name in names])
    worker = await stages.start(WORKER)

    async def sent() -> bool:
        stages_now = {name: each.stage for name, each in (await stages.submissions()).items()}
        return stages_now == {"f0": "submitting", "f1": "accepted"}

    await stages.until("one hangs, one waits for its fill, the others are done", sent)
    await stop(worker, whole_group)
    await no_claim_is_left(stages)
    assert {name: each.stage for name, each in (await stages.submissions()).items()} == {
        "f0": "submitting",
        "f1": "accepted",
    }
    assert "f0" in await stages.ready_now()

    await stages.start(WORKER, 2)

    async def all_final() -> bool:
        return len(await stages.finals()) == len(names)

    await stages.until("everything is settled", all_final)
    assert {event.outcome for event in await stages.finals()} == {Outcome.COPIED}
    assert [len(paper.orders_of(name)) for name in names] == [1, 1, 1]


async def test_a_worker_that_waits_for_the_brokers_first_answers_ends(stages: Stages, paper: PaperServer) -> None:
    """The broker does not answer the first requests of a new worker, and the stop does not wait for it."""
    stages.settings = stages.settings.model_copy(update={"request_timeout_seconds": 120.0})
    paper.fault("hang", count=None)
    await stages.deliver([an_order("f0")])
    worker = await stages.start(WORKER)

    async def asked() -> bool:
        return bool(paper.ask("GET", "faults")["faults"][0]["applied"])

    await stages.until("the worker asks the broker", asked)
    assert await worker.stop() == 0
    await no_claim_is_left(stages)


async def publish_many(stages: Stages, count: int) -> None:
    """Publish fills, with the accounts and the instrument that an engine needs to plan them."""
    account = an_account("1000", datetime.now(UTC))
    await store_accounts(stages.redis, KEYS, dict.fromkeys(FOLLOWERS, account))
    await stages.redis.hset(KEYS.instruments, "BTC/USD", an_instrument().model_dump_json())
    async with stages.redis.pipeline(transaction=False) as pipeline:
        for number in range(1, count + 1):
            fill = a_fill(sequence=number, fill_id=f"T{number}", executed_at=datetime.now(UTC))
            pipeline.xadd(KEYS.fills, {FILL_FIELD: fill.model_dump_json()}, id=f"{number}-0")
        await pipeline.execute()


async def test_an_engine_gives_its_shards_up_at_once(stages: Stages) -> None:
    """The engine stops between many fills and leaves no lease, so that another engine continues without waiting."""
    await publish_many(stages, 1000)
    engine = await stages.start(ENGINE)

    async def under_way() -> bool:
        return await stages.redis.llen(KEYS.mailbox("f0")) > 0

    await stages.until("it delivers", under_way)
    assert await engine.stop() == 0
    leases = [shard for shard in range(16) if await stages.redis.exists(KEYS.shard_lease(shard))]
    assert (leases, await stages.redis.zcard(KEYS.engines)) == ([], 0)
    delivered = await stages.redis.llen(KEYS.mailbox("f0"))
    assert delivered < 1000

    await stages.start(ENGINE, 2)

    async def all_delivered() -> bool:
        return all([await stages.redis.llen(KEYS.mailbox(name)) == 1000 for name in FOLLOWERS])

    await stages.until("another engine goes on", all_delivered)


async def test_every_stage_ends_while_redis_hangs(paper: PaperServer, fresh_database_url: str, tmp_path: Path) -> None:
    """Redis accepts requests and answers none. Each stage ends within its grace period with exit code 0."""
    server = RedisServer(tmp_path / "redis")
    with run_server(server, tmp_path / "redis.log") as redis_process:
        stages = await Stages.around(paper, server.url, fresh_database_url, tmp_path, FOLLOWERS[:1])
        names = [BOOKKEEPER, ENGINE, WORKER, MASTER]
        processes = await asyncio.gather(*(stages.start(name) for name in names))
        redis_process.send_signal(signal.SIGSTOP)
        try:
            codes = await asyncio.gather(*(process.stop() for process in processes))
        finally:
            redis_process.send_signal(signal.SIGCONT)
        assert dict(zip(names, codes, strict=True)) == dict.fromkeys(names, 0)
        await stages.close()


async def test_a_master_trader_gives_its_lease_back(stages: Stages, paper: PaperServer) -> None:
    """The master trader stops while it polls. No lease is left, and its state is `stopped`."""
    master = await stages.start(MASTER)

    async def follows() -> bool:
        return bool(await stages.redis.exists(KEYS.master_lease))

    await stages.until("it follows", follows)
    paper.fault("latency", seconds=1.5, count=None)

    async def asks() -> bool:
        return bool(paper.ask("GET", "faults")["faults"][0]["applied"])

    await stages.until("it waits for the broker", asks)
    assert await master.stop() == 0
    assert await stages.redis.exists(KEYS.master_lease) == 0
    assert await stages.redis.hget(KEYS.master, "state") == b"stopped"


async def test_a_bookkeeper_has_written_what_it_has_read(stages: Stages) -> None:
    """The bookkeeper stops between many events. Every event that it has read is acknowledged."""
    events = [text for n in range(3000) for text in (an_order_event(f"f{n}"), a_filled_event(f"f{n}"))]
    async with stages.redis.pipeline(transaction=False) as pipeline:
        for event in events:
            pipeline.xadd(KEYS.events, {EVENT_FIELD: event.model_dump_json()})
        await pipeline.execute()
    bookkeeper = await stages.start(BOOKKEEPER)

    async def under_way() -> bool:
        return await stages.redis.xlen(KEYS.events) < len(events)

    await stages.until("it writes", under_way)
    assert await bookkeeper.stop() == 0
    assert (await stages.redis.xpending(KEYS.events, LEDGER_GROUP))["pending"] == 0
    assert await stages.redis.xlen(KEYS.events) > 0
