"""SIGTERM of each stage, under load: it finishes what is in flight within its grace period and leaves nothing behind.

A stage is stopped as `nija up` stops it: SIGTERM, and SIGKILL when the grace is over, which would show as exit code
-9. What it leaves is looked at before any lease could have run out by itself.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.domain.events import Outcome
from shared.domain.identity import Broker
from tests.contract.paper import PaperServer
from tests.examples import an_order
from tests.fakes.stages import KEYS, Stages

WORKER = "broker_worker-kraken"
FOLLOWERS = [f"f{number}" for number in range(12)]
ORDERS_EACH = 20


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperServer]:
    """A paper Kraken of this test's own, with a pinned price."""
    server = PaperServer(Broker.KRAKEN, tmp_path)
    server.pin_price("BTC/USD", "50000")
    yield server
    server.stop()


@pytest.fixture
async def stages(
    paper: PaperServer, fresh_redis_url: str, fresh_database_url: str, tmp_path: Path
) -> AsyncIterator[Stages]:
    """Everything around the process under test."""
    stages = await Stages.around(paper, fresh_redis_url, fresh_database_url, tmp_path, FOLLOWERS)
    yield stages
    await stages.close()


async def no_lease_is_left(stages: Stages) -> None:
    """Everybody is released: who has mail is ready, and nobody is lent to a worker."""
    redis = stages.redis
    assert (await redis.zcard(KEYS.leases), await redis.hlen(KEYS.fences)) == (0, 0)
    with_mail = {name for name in FOLLOWERS if await redis.llen(KEYS.mailbox(name))}
    assert {name.decode() for name in await redis.zrange(KEYS.ready, 0, -1)} >= with_mail


async def test_a_worker_finishes_what_is_in_flight(stages: Stages, paper: PaperServer) -> None:
    """A broker that takes two seconds, long mailboxes: each order under way is settled, no other one is begun."""
    paper.fault("latency", seconds=2.0, count=None, orders=True)
    orders = [an_order(name, sequence) for sequence in range(1, ORDERS_EACH + 1) for name in FOLLOWERS]
    await stages.deliver(orders)
    worker = await stages.start(WORKER)

    async def everybody_sends() -> bool:
        return len(await stages.submissions()) == len(FOLLOWERS)

    await stages.until("everybody has an order in flight", everybody_sends)
    assert await worker.stop() == 0
    await no_lease_is_left(stages)
    assert await stages.submissions() == {}
    finals = await stages.finals()
    assert {event.outcome for event in finals} == {Outcome.COPIED}
    placed = [order["client_order_id"] for name in FOLLOWERS for order in paper.orders_of(name)]
    assert len(placed) == len(set(placed)) == len(finals) < len(orders)


async def test_a_worker_whose_broker_hangs_leaves_the_order_to_the_next(stages: Stages, paper: PaperServer) -> None:
    """No answer within the grace, an order that fills late: given back as recorded; the next worker finds them."""
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
    assert await worker.stop() == 0
    await no_lease_is_left(stages)
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
    """Nothing is known of the broker yet, and it hangs: the worker does not wait for it."""
    stages.settings = stages.settings.model_copy(update={"request_timeout_seconds": 120.0})
    paper.fault("hang", count=None)
    await stages.deliver([an_order("f0")])
    worker = await stages.start(WORKER)

    async def asked() -> bool:
        return bool(paper.ask("GET", "faults")["faults"][0]["applied"])

    await stages.until("the worker asks the broker", asked)
    assert await worker.stop() == 0
    await no_lease_is_left(stages)
