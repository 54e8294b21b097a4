"""Provides a paper Kraken with a master account, and its processes with short cycles."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.config import load_settings
from shared.domain.identity import Broker
from tests.contract.paper import PaperServer
from tests.support.running.stages import Stages

CYCLE_SECONDS = 2


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperServer]:
    """A separate paper Kraken without rate limits, with a pinned price."""
    server = PaperServer(Broker.KRAKEN, tmp_path, "--no-rate-limits")
    server.pin_price("BTC/USD", "50000")
    yield server
    server.stop()


@pytest.fixture
async def stages(
    paper: PaperServer, fresh_redis_url: str, fresh_database_url: str, tmp_path: Path
) -> AsyncIterator[Stages]:
    """No process is started yet."""
    stages = await Stages.around(paper, fresh_redis_url, fresh_database_url, tmp_path, ["alice"])
    stages.settings = load_settings(
        {
            **stages.settings.environment(),
            "MULTI_BROKER_INDEPENDENT": "true",
            "NIJA_TRADER_CYCLE_SECONDS": str(CYCLE_SECONDS),
            "NIJA_RATE_LIMITS": "false",
        }
    )
    yield stages
    await stages.close()
