"""A file EMERGENCY_STOP stops trading within two seconds, is never cleared by the program, and forbids to resume."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import StopMode, StopScope, StopState
from shared.emergency_file import EMERGENCY_FILE, emergency_file, keep_stopped_by_file
from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import mirror_command, parse_stop_state
from shared.persistence.database import open_engine
from shared.persistence.stops import StopStore

SEEN_SECONDS = 2.0


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


def mode_in_redis(url: str) -> StopMode | None:
    """What the stages of Kraken read."""
    with Redis.from_url(url) as redis:
        stored = redis.get(BrokerKeys(Broker.KRAKEN).stop)
    return parse_stop_state(stored).broker_mode if stored else None  # type: ignore[arg-type]


async def until_stopped(stops: StopStore, url: str) -> None:
    async with asyncio.timeout(20):
        while stops.standing().of(StopScope()) is None or mode_in_redis(url) is not StopMode.HALT:
            await asyncio.sleep(0.02)


async def test_the_file_stops_every_broker_once_for_all_processes(
    fresh_redis_url: str, fresh_database_url: str, engine: Engine, tmp_path: Path
) -> None:
    """Three processes see it. The stop is stored once, mirrored, and written again when it was ended elsewhere."""
    stops, ended = StopStore(engine), asyncio.Event()
    urls = {Broker.KRAKEN: fresh_redis_url}
    folders = (tmp_path / "missing", tmp_path)
    looking = [asyncio.create_task(keep_stopped_by_file(folders, urls, fresh_database_url, ended)) for _ in range(3)]
    await asyncio.sleep(0.2)
    assert stops.standing().stops == ()
    (tmp_path / EMERGENCY_FILE).touch()
    began = time.monotonic()
    await until_stopped(stops, fresh_redis_url)
    assert time.monotonic() - began < SEEN_SECONDS
    (stop,) = stops.standing().stops
    assert (stop.scope, stop.mode, stop.actor) == (StopScope(), StopMode.HALT, EMERGENCY_FILE)
    assert str(tmp_path) in stop.reason
    await asyncio.sleep(1.2)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM stop_changes")) == 1
    stops.change(StopScope(), None, actor="another host", reason="")
    await until_stopped(stops, fresh_redis_url)
    (tmp_path / EMERGENCY_FILE).unlink()
    await asyncio.sleep(1.2)
    assert stops.standing().of(StopScope()) is not None
    ended.set()
    await asyncio.gather(*looking)


async def test_a_weaker_stop_becomes_a_halt(
    fresh_redis_url: str, fresh_database_url: str, engine: Engine, tmp_path: Path
) -> None:
    """Close-only would let exits go on, and the file means that nothing is sent."""
    stops, ended = StopStore(engine), asyncio.Event()
    stops.change(StopScope(), StopMode.CLOSE_ONLY, actor="operator", reason="")
    (tmp_path / EMERGENCY_FILE).touch()
    urls = {Broker.KRAKEN: fresh_redis_url}
    looking = asyncio.create_task(keep_stopped_by_file((tmp_path,), urls, fresh_database_url, ended))
    await until_stopped(stops, fresh_redis_url)
    ended.set()
    await looking
    (stop,) = stops.standing().stops
    assert stop.mode is StopMode.HALT


async def test_a_database_that_is_not_migrated_yet_ends_no_watch(
    fresh_redis_url: str, fresh_database_url: str, engine: Engine, tmp_path: Path
) -> None:
    """The process started before the migration. The stop is stored as soon as the table is there."""
    ended = asyncio.Event()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE stop_changes RENAME TO not_migrated"))
    (tmp_path / EMERGENCY_FILE).touch()
    urls = {Broker.KRAKEN: fresh_redis_url}
    looking = asyncio.create_task(keep_stopped_by_file((tmp_path,), urls, fresh_database_url, ended))
    await asyncio.sleep(0.7)
    assert not looking.done()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE not_migrated RENAME TO stop_changes"))
    await until_stopped(StopStore(engine), fresh_redis_url)
    ended.set()
    await looking


async def test_without_postgresql_the_stages_of_a_broker_are_halted(
    fresh_redis_url: str, fresh_database_url: str, engine: Engine, tmp_path: Path
) -> None:
    """The halt is in Redis, and no stop of a follower is ended. It is stored later, although the file is gone by then."""
    keys, ended = BrokerKeys(Broker.KRAKEN), asyncio.Event()
    before = StopState(revision=5, follower_modes={FollowerId("alice"): StopMode.CLOSE_ONLY})
    with Redis.from_url(fresh_redis_url) as redis, engine.begin() as hanging:
        redis.execute_command(*mirror_command(keys, before))
        hanging.execute(text("LOCK TABLE stop_changes IN ACCESS EXCLUSIVE MODE"))
        (tmp_path / EMERGENCY_FILE).touch()
        urls = {Broker.KRAKEN: fresh_redis_url}
        looking = asyncio.create_task(keep_stopped_by_file((tmp_path,), urls, fresh_database_url, ended))
        async with asyncio.timeout(SEEN_SECONDS):
            while mode_in_redis(fresh_redis_url) is not StopMode.HALT:
                await asyncio.sleep(0.02)
        halted = parse_stop_state(redis.get(keys.stop))  # type: ignore[arg-type]
        assert halted == before.model_copy(update={"broker_mode": StopMode.HALT})
        (tmp_path / EMERGENCY_FILE).unlink()
    await until_stopped(StopStore(engine), fresh_redis_url)
    ended.set()
    await looking


async def test_a_redis_without_a_stop_state_stays_without_one(fresh_redis_url: str, tmp_path: Path) -> None:
    """No process sends anything then. A state that is made up might end the stop of a follower later."""
    ended, nowhere = asyncio.Event(), "postgresql://nija@127.0.0.1:1/nija"
    (tmp_path / EMERGENCY_FILE).touch()
    looking = asyncio.create_task(keep_stopped_by_file((tmp_path,), {Broker.KRAKEN: fresh_redis_url}, nowhere, ended))
    await asyncio.sleep(0.5)
    assert not looking.done()
    assert mode_in_redis(fresh_redis_url) is None
    ended.set()
    await looking


def test_a_folder_that_cannot_be_read_has_no_file(tmp_path: Path) -> None:
    """The first folder that has the file is named."""
    assert emergency_file((tmp_path, tmp_path / "missing")) is None
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / EMERGENCY_FILE).write_text("anything")
    assert emergency_file((tmp_path, tmp_path / "home")) == tmp_path / "home" / EMERGENCY_FILE
