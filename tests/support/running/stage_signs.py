"""Signs of life of stages that do not run."""

from collections.abc import Sequence
from datetime import timedelta

from redis.asyncio import Redis

from shared.messaging.keys import BrokerKeys
from shared.messaging.stage_signs import Stage, StageRecord, StageSigns, StageState


async def sign_for(redis: Redis, keys: BrokerKeys, stages: Sequence[Stage] = tuple(Stage)) -> None:
    """Write for one process of each stage that it has run for an hour, and runs now."""
    signs = StageSigns(redis, keys)
    for stage in stages:
        record = StageRecord.of_this_process(stage).now(StageState.RUNNING)
        await signs.write(record.model_copy(update={"started_at": record.started_at - timedelta(hours=1)}))
