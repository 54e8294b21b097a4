"""Measures how many copy orders a second the real processes settle, compared with a plain asyncio and ccxt loop.

The system runs as engine, Celery worker with two children, bookkeeper, Redis with `appendfsync always`, and
PostgreSQL. They run on the same machine as the stub of the broker. A round publishes one fill to all followers (2,000
by default) and ends when the last order is settled.

The baseline places the same number of orders at the same stub from one process, and reads their final states. It has
no queue and no database. Both sides keep the same number of orders in flight.

Alternating rounds do not cancel the noise of a busy machine. The processes of nija need about twice the CPU time of the
baseline for each order, and on two cores they need both of them. The baseline needs little more than one core. So any
other work on the machine lowers the ratio. Compare two commits only on an idle machine, in alternating runs.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text

from benchmarks.made_up import BROKER, INSTRUMENT, fill, follower_ids, store_accounts
from benchmarks.rounds import Announce, Comparison, compare
from services.local_system.child import child_setup
from services.local_system.embedded import free_port
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import FollowerId
from shared.messaging.connection.connect import open_redis
from shared.messaging.fills import publish_fill
from shared.messaging.keys import BrokerKeys, queue_name
from shared.persistence.database import open_engine, transaction
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.migrate import migrate

CHILDREN = 2
PLACES = 48
ROUND_TIMEOUT_SECONDS = 120


async def copy(
    redis_url: str, database_url: str, folder: Path, follower_count: int, rounds: int, announce: Announce
) -> Comparison:
    """Measure orders a second, of nija and of the baseline. Empties this Redis; the database should be new.

    Raises RuntimeError when followers or the ledger do not hold what they should hold.
    """
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    environment = _environment(redis_url, database_url, base_url)
    redis = open_redis(redis_url)
    await redis.flushall()
    keys = BrokerKeys(BROKER)
    await _prepare(redis, keys, database_url, environment["NIJA_SECRET_KEY"], follower_count)
    sequence = 0

    async def our_round() -> float:
        nonlocal sequence
        sequence += 1
        started = time.perf_counter()
        await publish_fill(redis, keys, fill(sequence))
        await _until(lambda: _is_settled(redis, keys, sequence))
        elapsed_seconds = time.perf_counter() - started
        held = sum([1 async for _ in redis.scan_iter(match=f"{keys.prefix}positions:*", count=5_000)])
        expected = follower_count if sequence % 2 else 0
        if held != expected:
            raise RuntimeError(f"{held} followers hold a copied position after fill {sequence}, not {expected}")
        return follower_count / elapsed_seconds

    async with contextlib.AsyncExitStack() as stack:
        for name, command in _commands(port).items():
            await stack.enter_async_context(_process(command, environment, folder / f"{name}.log"))
        bare = await stack.enter_async_context(
            _process(
                [
                    "-m",
                    "benchmarks.bare_loop",
                    base_url,
                    str(follower_count),
                    str(follower_count),
                    str(PLACES * CHILDREN),
                ],
                environment,
                folder / "bare_loop.log",
            )
        )
        if bare.stdin is None or bare.stdout is None:
            raise RuntimeError("the baseline has no pipes")
        requests, answers = bare.stdin, bare.stdout
        await answers.readline()
        await _until(lambda: redis.exists(keys.epoch))

        async def bare_round() -> float:
            requests.write(b"go\n")
            await requests.drain()
            return follower_count / float(await answers.readline())

        try:
            compared = await compare(our_round, bare_round, rounds, announce)
            announce("waiting for the ledger, to count what it has")
            await _until(lambda: _is_booked(redis, keys))
            await asyncio.to_thread(_check_ledger, database_url, follower_count * sequence)
            return compared
        finally:
            await redis.aclose()


def _environment(redis_url: str, database_url: str, base_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "NIJA_BROKERS": BROKER.value,
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        # The benchmark measures how long a backlog takes, so no part of it may become too old.
        "NIJA_OPEN_MAX_AGE_SECONDS": "86400",
        "NIJA_DRAIN_PLACES": str(PLACES),
        "NIJA_LOG_LEVEL": "warning",
        "NIJA_RATE_LIMITS": "false",
        f"{BROKER.name}_BASE_URL": base_url,
    }


def _commands(port: int) -> dict[str, list[str]]:
    worker = f"celery -A services.broker_worker.app worker -Q {queue_name(BROKER)} -P prefork -c {CHILDREN} -l WARNING"
    return {
        "stub": ["-m", "benchmarks.stub_kraken", str(port)],
        "bookkeeper": ["-m", "services.bookkeeper.app"],
        "engine": ["-m", "services.copy_engine.app"],
        "worker": ["-m", *worker.split(), "--without-gossip", "--without-mingle"],
    }


async def _prepare(redis: "Redis", keys: BrokerKeys, database_url: str, secret_key: str, follower_count: int) -> None:
    migrate(database_url)
    engine = open_engine(database_url)
    store = FollowerStore(engine, SecretBox(SecretStr(secret_key)))
    secret = SecretStr(b64encode(b"benchmark").decode())
    rows = [
        NewFollower(
            row=number,
            broker=BROKER,
            follower_id=FollowerId(follower_id),
            credentials=Credentials(api_key=SecretStr(f"key-{number}"), api_secret=secret),
        )
        for number, follower_id in enumerate(follower_ids(follower_count), start=1)
    ]
    store.import_rows(rows, actor="benchmark")
    engine.dispose()
    await store_accounts(redis, keys, follower_count)
    await redis.hset(keys.instruments, INSTRUMENT.symbol, INSTRUMENT.model_dump_json())
    # The snapshots are already stored, and the next refresh is an hour away. So the workers read no accounts.
    in_an_hour_ms = int((time.time() + 3_600) * 1_000)
    await redis.zadd(keys.refresh, dict.fromkeys(follower_ids(follower_count), in_an_hour_ms))


async def _is_settled(redis: "Redis", keys: BrokerKeys, sequence: int) -> bool:
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.hvals(keys.shards)
        pipeline.zcard(keys.ready)
        pipeline.zcard(keys.claims)
        positions, ready, claimed = await pipeline.execute()
    return bool(positions) and set(positions) == {b"%d:*" % sequence} and not ready and not claimed


async def _is_booked(redis: "Redis", keys: BrokerKeys) -> bool:
    return bool(await redis.xlen(keys.events) == 0)


def _check_ledger(database_url: str, expected: int) -> None:
    """Check that the ledger has every copied order: otherwise the rate is not valid. Raises RuntimeError."""
    engine = open_engine(database_url, pool_size=1)
    try:
        with transaction(engine) as connection:
            settled = connection.execute(
                text("SELECT count(*) FROM order_events WHERE outcome = 'copied'")
            ).scalar_one()
    finally:
        engine.dispose()
    if settled != expected:
        raise RuntimeError(f"the ledger has {settled} copied orders, not {expected}")


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(ROUND_TIMEOUT_SECONDS):
        while not await condition():  # type: ignore[misc]  # noqa: ASYNC110 - other processes send no event
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def _process(
    arguments: list[str], environment: dict[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if "benchmarks.bare_loop" in arguments else output,
            stderr=output,
            preexec_fn=child_setup(signal.SIGTERM),
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
