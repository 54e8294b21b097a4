"""Leaves signs of life of every process of a stage in the Redis of each of its brokers, for `nija status`.

A process writes one record under its own name every two seconds. A record that is not renewed is of a process that
hangs, was killed or crashed. A process that ends in good order says so, so several records of one host that end
without that are a crash loop. Nothing else depends on these records.
"""

import os
import secrets
import socket
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis

from shared.domain.amounts import Instant
from shared.messaging.connection.connect import open_blocking_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import script
from shared.observability.vitals import Trouble

SIGN_SECONDS: Final = 2.0
KEPT_SECONDS: Final = 900.0
"""How long the last record of a process is kept. Kubernetes waits up to 5 minutes between two starts of a container
that crashes, so three crashes in a row fit into it."""
ONE_SHOT_SECONDS: Final = 2.0
"""A start or a failure is not held up longer than this by a Redis that does not answer."""


class Stage(StrEnum):
    """A kind of process, as its log names it."""

    MASTER_TRADER = "master_trader"
    COPY_ENGINE = "copy_engine"
    BROKER_WORKER = "broker_worker"
    BOOKKEEPER = "bookkeeper"
    STRATEGY_TRADER = "strategy_trader"


class StageState(StrEnum):
    """What a process last said of itself."""

    STARTING = "starting"
    RUNNING = "running"
    BROKEN = "broken"
    """It runs and can do nothing: a worker without children, or without its queue. Only a restart helps."""
    STOPPED = "stopped"
    """It ended in good order."""
    FAILED = "failed"
    """It could not start, and ended."""


class StageRecord(BaseModel):
    """One process of a stage, in its own words."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    stage: Stage
    host: str
    pid: int
    token: str
    """Two processes may have the same number, one after the other."""
    started_at: Instant
    state: StageState = StageState.STARTING
    trouble: str | None = None
    """What keeps it from its work, or why it could not start."""
    trouble_since: Instant | None = None
    trouble_last: Instant | None = None
    """When the trouble was reported last."""

    @classmethod
    def of_this_process(cls, stage: Stage) -> Self:
        return cls(
            stage=stage,
            host=socket.gethostname(),
            pid=os.getpid(),
            token=secrets.token_hex(4),
            started_at=datetime.now(UTC),
        )

    @property
    def process(self) -> str:
        """The name of the process among all that ever ran."""
        return f"{self.stage.value}@{self.host}:{self.pid}:{self.token}"

    def now(self, state: StageState, trouble: Trouble | None = None) -> Self:
        """The same process, as it is now."""
        return self.model_copy(
            update={
                "state": state,
                "trouble": trouble.text if trouble else None,
                "trouble_since": trouble.since if trouble else None,
                "trouble_last": trouble.last if trouble else None,
            }
        )

    def failed(self, why: str) -> Self:
        """The same process, which could not start."""
        now = datetime.now(UTC)
        return self.now(StageState.FAILED, Trouble(why, now, now))


class StageSigns:
    """Writes records into one broker's Redis. `write` raises RedisError and OSError."""

    def __init__(self, redis: Redis, keys: BrokerKeys) -> None:
        self._sign = redis.register_script(script("sign").text)
        self._keys = (keys.stage_signs, keys.stages)

    async def write(self, record: StageRecord) -> None:
        await self._sign(keys=list(self._keys), args=_arguments(record))


def leave_sign(redis_url: str, keys: BrokerKeys, record: StageRecord) -> None:
    """Write a record once, for a process that has no event loop yet. Raises RedisError and OSError."""
    with open_blocking_redis(redis_url, answer_seconds=ONE_SHOT_SECONDS, retries=False) as redis:
        redis.register_script(script("sign").text)(keys=[keys.stage_signs, keys.stages], args=_arguments(record))


def _arguments(record: StageRecord) -> list[str | int]:
    return [record.process, record.model_dump_json(), int(KEPT_SECONDS * 1000)]
