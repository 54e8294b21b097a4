"""A file EMERGENCY_STOP stops trading within two seconds, is never cleared by the program, and forbids to resume."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from shared.domain.identity import Broker
from shared.domain.stop import StopMode, StopScope
from shared.emergency_file import EMERGENCY_FILE, emergency_file, keep_stopped_by_file
from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import parse_stop_state
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


def test_a_folder_that_cannot_be_read_has_no_file(tmp_path: Path) -> None:
    """The first folder that has the file is named."""
    assert emergency_file((tmp_path, tmp_path / "missing")) is None
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / EMERGENCY_FILE).write_text("anything")
    assert emergency_file((tmp_path, tmp_path / "home")) == tmp_path / "home" / EMERGENCY_FILE
