"""A real worker asks a paper broker for its markets again, while it runs."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.domain.events import Outcome
from shared.domain.identity import Broker
from tests.contract.paper import PaperServer
from tests.support.examples import an_order
from tests.support.running.stages import Stages


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperServer]:
    server = PaperServer(Broker.KRAKEN, tmp_path)
    server.pin_price("BTC/USD", "50000")
    yield server
    server.stop()


@pytest.fixture
async def stages(
    paper: PaperServer, fresh_redis_url: str, fresh_database_url: str, tmp_path: Path
) -> AsyncIterator[Stages]:
    stages = await Stages.around(paper, fresh_redis_url, fresh_database_url, tmp_path, ["alice", "bob"])
    stages.settings = stages.settings.model_copy(update={"worker_children": 1})
    yield stages
    await stages.close()


@pytest.mark.long
async def test_a_worker_asks_again_for_a_symbol_it_does_not_know(stages: Stages, paper: PaperServer) -> None:
    """Once for many orders, through the session that it trades on; who waits for another symbol is served."""
    paper.fault("latency", seconds=0.0, count=None, endpoint="AssetPairs")  # which counts the requests

    def times_asked() -> int:
        return sum(fault["applied"] for fault in paper.ask("GET", "faults")["faults"])

    await stages.deliver([an_order("alice", symbol="NEW/USD"), an_order("bob")])
    worker = await stages.start("broker_worker-kraken")

    async def asked_again() -> bool:
        return times_asked() >= 2

    await stages.until("the markets are loaded again", asked_again)
    await stages.deliver([an_order("bob", 2)])

    async def bob_is_served() -> bool:
        return len(await stages.finals()) >= 2

    await stages.until("bob's orders are settled", bob_is_served)
    assert [(e.follower_id, e.outcome) for e in await stages.finals()] == [("bob", Outcome.COPIED)] * 2
    assert times_asked() == 2
    assert await worker.stop() == 0
