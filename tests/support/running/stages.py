"""Runs the stages for one broker as real processes around a paper broker, started and stopped as `nija up` does.

The test provides Redis and PostgreSQL. It may add mail and fills itself, and it can check what the stages leave behind.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cryptography.fernet import Fernet
from redis.asyncio import Redis

from services.local_system.process import ManagedProcess
from services.local_system.processes import Surroundings, service_specs, trader_specs
from shared.config import Settings, load_settings
from shared.config.broker_variables import master_prefix
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.events import EVENT, Event, OrderEvent
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import Mailboxes, Submission
from shared.messaging.scripts import ScriptRunner
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from tests.contract.paper import PaperServer
from tests.support.examples import FIRST_ROSTER
from tests.support.running.epoch import in_line
from tests.support.running.worker_bench import now_decided

KEYS = BrokerKeys(Broker.KRAKEN)
PATIENCE_SECONDS = 60.0


@dataclass
class Stages:
    """The stages for one master and some followers. No stage is started yet."""

    paper: PaperServer
    redis: Redis
    settings: Settings
    folder: Path
    person: Credentials
    """A key of the master's account, for the person who trades."""
    broker: Broker = Broker.KRAKEN
    started: list[ManagedProcess] = field(default_factory=list)
    position: bytes = b""

    @classmethod
    async def around(
        cls,
        paper: PaperServer,
        redis_url: str,
        database_url: str,
        folder: Path,
        followers: Sequence[str],
        broker: Broker = Broker.KRAKEN,
    ) -> Self:
        """Make the accounts, register the followers, and mark Redis as in line with the ledger."""
        keys = {name: paper.new_account(name, {"USD": "100000"}) for name in followers}
        keys["master"], person = paper.new_shared_account("master", {"USD": "100000"})
        variables = {
            "NIJA_HOME": str(folder),
            "NIJA_BROKERS": broker.value,
            "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
            "NIJA_MASTER_POLL_SECONDS": "0.1",
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            f"{broker.value.upper()}_BASE_URL": paper.url,
        }
        for name, key in keys.items():
            prefix = master_prefix(broker) if name == "master" else f"{broker.value.upper()}_USER_{name.upper()}"
            variables[f"{prefix}_API_KEY"] = key.api_key.get_secret_value()
            variables[f"{prefix}_API_SECRET"] = key.api_secret.get_secret_value()
        settings = load_settings({**variables, "NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""})
        engine = open_engine(database_url, pool_size=1)
        FollowerStore(engine, SecretBox(settings.secret_key)).register_environment(settings.environment_followers())
        engine.dispose()
        redis = Redis.from_url(redis_url)
        keys_in_redis = BrokerKeys(broker)
        await in_line(redis, keys_in_redis)
        await redis.incr(keys_in_redis.roster)
        return cls(paper, redis, settings, folder, person, broker)

    async def start(self, name: str, number: int = 1) -> ManagedProcess:
        """Start a stage and wait until it is ready. `number` distinguishes processes with the same name."""
        around = Surroundings(
            environment={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **self.settings.environment()},
            log_folder=self.folder,
            heartbeat_file=lambda stage: self.folder / f"{stage}-{number}.heartbeat",
            working_folder=self.folder,
        )
        specs = [*service_specs(self.settings, [self.broker], around), *trader_specs([self.broker], around)]
        [spec] = [spec for spec in specs if spec.name == name]
        process = await ManagedProcess.start(replace(spec, log_file=self.folder / f"{name}-{number}.log"))
        self.started.append(process)
        await process.wait_ready()
        return process

    async def close(self) -> None:
        """Kill the processes that still run."""
        for process in self.started:
            process.send(signal.SIGKILL)
            await process.wait_end()
        await self.redis.aclose()

    async def until(self, what: str, condition: Callable[[], Awaitable[Any]]) -> None:
        """Wait until the condition holds, or fail with the text `what` and the logs."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await condition():
            if time.monotonic() > deadline:
                logs = "\n".join(log.read_text()[-3000:] for log in sorted(self.folder.glob("*.log")))
                raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}\n{logs}")
            await asyncio.sleep(0.02)

    async def deliver(self, orders: Sequence[CopyOrder]) -> None:
        """Put the orders into their mailboxes as an engine does, with the present as their decision time."""
        mailboxes = Mailboxes(ScriptRunner(self.redis), KEYS, int(self.settings.claim_seconds * 1000))
        after = b"%d:*" % (int(self.position.partition(b":")[0] or 0) + 1)
        mail = [part for order in orders for part in (order.follower_id, now_decided(order).model_dump_json())]
        roster_version = int(await self.redis.get(KEYS.roster) or FIRST_ROSTER)
        await mailboxes.deliver(0, self.position, after, b"", mail, (), roster_version)
        self.position = after

    async def submissions(self) -> dict[str, Submission]:
        """The recorded submissions, by follower."""
        stored = await self.redis.hgetall(KEYS.submitting)
        return {name.decode(): Submission.model_validate_json(text) for name, text in stored.items()}

    async def events(self) -> list[Event]:
        return [EVENT.validate_json(fields[b"event"]) for _, fields in await self.redis.xrange(KEYS.events)]

    async def finals(self) -> list[OrderEvent]:
        return [e for e in await self.events() if isinstance(e, OrderEvent) and e.outcome is not None]

    async def ready_now(self) -> set[str]:
        """The followers that a worker may claim now."""
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        return {name.decode() for name in await self.redis.zrangebyscore(KEYS.ready, 0, now_ms)}
