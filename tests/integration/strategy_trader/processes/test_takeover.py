"""Two real processes for one broker: one trades, the other takes over when it is killed, and no cycle is traded twice."""

import json
import signal
import time
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from services.strategy_trader.app import LEASE_SECONDS
from tests.integration.strategy_trader.processes.conftest import CYCLE_SECONDS
from tests.support.running.stages import KEYS, Stages

TRADER = "strategy_trader-kraken"


def lines(stages: Stages, number: int, *events: str) -> list[dict[str, Any]]:
    """The lines of the log of a trader, all or those of some events."""
    log = stages.folder / f"{TRADER}-{number}.log"
    found = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in found if not events or line["event"] in events]


def cycles(stages: Stages, number: int) -> list[int]:
    return [line["cycle"] for line in lines(stages, number, "cycle started")]


async def holder(redis: Redis) -> int | None:
    """The process that holds the lease."""
    token = await redis.get(KEYS.trader_lease)
    return int(token.decode().split(":")[1]) if token else None


async def until_cycles(stages: Stages, numbers: Sequence[int], count: int) -> None:
    async def done() -> bool:
        return sum(len(cycles(stages, number)) for number in numbers) >= count

    await stages.until(f"{count} cycles", done)


async def test_the_spare_takes_over_and_no_cycle_is_traded_twice(stages: Stages) -> None:
    """After kill -9 the spare has the lease within its length, and runs the next cycle. SIGTERM then ends it well."""
    await stages.start("master_trader-kraken")
    traders = {number: await stages.start(TRADER, number) for number in (1, 2)}
    await until_cycles(stages, (1, 2), 3)
    killed = 1 if await holder(stages.redis) == traders[1].pid else 2
    spare = 3 - killed
    assert cycles(stages, spare) == []
    traders[killed].send(signal.SIGKILL)
    killed_at = time.monotonic()

    async def taken_over() -> bool:
        return await holder(stages.redis) == traders[spare].pid

    await stages.until("taken over", taken_over)
    # The lease, one try of the spare, and what a busy machine adds.
    assert time.monotonic() - killed_at < LEASE_SECONDS + 3
    await until_cycles(stages, (spare,), 2)
    numbers = [*cycles(stages, killed), *cycles(stages, spare)]
    assert len(numbers) == len(set(numbers))
    assert max(cycles(stages, killed)) < min(cycles(stages, spare))
    traders[spare].send(signal.SIGTERM)
    assert await traders[spare].wait_end() == 0
    assert await stages.redis.get(KEYS.trader_lease) is None
    ended = [line["cycle"] for line in lines(stages, spare, "cycle completed", "cycle failed")]
    assert ended == cycles(stages, spare)


async def test_a_cycle_reports_what_the_account_has(stages: Stages) -> None:
    """Equity, cash and positions are in the log with broker and cycle, and health is that of good cycles."""
    await stages.start("master_trader-kraken")
    await stages.start(TRADER)

    async def completed() -> bool:
        return bool(lines(stages, 1, "waiting for the next cycle"))

    await stages.until("a good cycle", completed)
    line = lines(stages, 1, "cycle completed")[-1]
    assert (line["broker"], line["equity"], line["cash"], line["positions"]) == ("kraken", "100000", "100000", 0)
    assert line["opens_stopped"] == ""
    assert lines(stages, 1, "waiting for the next cycle")[-1]["seconds"] <= CYCLE_SECONDS


@pytest.mark.long
async def test_a_live_account_is_not_traded_without_the_setting(stages: Stages) -> None:
    """The process runs, says why it does nothing, and takes no cycle."""
    stages.settings = stages.settings.model_copy(update={"multi_broker_independent": None})
    await stages.start("master_trader-kraken")
    trader = await stages.start(TRADER)

    async def said() -> bool:
        return bool(lines(stages, 1, "the strategy does not trade"))

    await stages.until("said why", said)
    assert "MULTI_BROKER_INDEPENDENT is not on" in lines(stages, 1, "the strategy does not trade")[0]["reason"]
    assert await holder(stages.redis) is None
    trader.send(signal.SIGTERM)
    assert await trader.wait_end() == 0
