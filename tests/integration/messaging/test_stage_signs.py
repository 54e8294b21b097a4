"""Tests the records that processes leave in Redis, on every version of Redis that nija supports."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from sqlalchemy import Engine

from shared import presence
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.messaging.stage_signs import Stage, StageRecord, StageSigns, StageState, leave_sign
from shared.observability.heartbeat import Heartbeat
from shared.observability.vitals import Vitals
from shared.persistence.database import open_engine
from shared.persistence.reports.stages import recent_stage_reports, write_stage_report
from shared.presence import LoopLife, leave_failure, signs_of_life
from tests.support.operators.pipelines import pipeline_in

KEYS = BrokerKeys(Broker.KRAKEN)
NO_REDIS = "redis://127.0.0.1:1/0"
NO_DATABASE = "postgresql://127.0.0.1:1/nija"


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """The test's database."""
    engine = open_engine(fresh_database_url, pool_size=1)
    yield engine
    engine.dispose()


async def test_a_record_is_renewed_and_an_old_one_is_forgotten(
    each_redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One record for each process, with the moment of its last sign by the clock of Redis."""
    first, second = (StageRecord.of_this_process(Stage.COPY_ENGINE) for _ in range(2))
    async with Redis.from_url(each_redis_url) as redis:
        signs = StageSigns(redis, KEYS)
        await signs.write(first)
        await signs.write(first.now(StageState.RUNNING))
        await signs.write(second)
        assert await redis.hlen(KEYS.stages) == await redis.zcard(KEYS.stage_signs) == 2
        stored = await redis.hget(KEYS.stages, first.process)
        assert StageRecord.model_validate_json(stored) == first.now(StageState.RUNNING)
        await redis.zadd(KEYS.stage_signs, {first.process: 1.0})
        await signs.write(second)
        assert await redis.hkeys(KEYS.stages) == [second.process.encode()]
        assert await redis.zrange(KEYS.stage_signs, 0, -1) == [second.process.encode()]


def test_a_process_without_an_event_loop_can_leave_a_sign(each_redis_url: str) -> None:
    """A worker counts its start before Celery connects to anything."""
    record = StageRecord.of_this_process(Stage.BROKER_WORKER)
    leave_sign(each_redis_url, KEYS, record)
    with BlockingRedis.from_url(each_redis_url) as redis:
        assert StageRecord.model_validate_json(redis.hget(KEYS.stages, record.process)) == record


async def test_a_process_is_there_while_it_runs_and_says_when_it_ends(
    fresh_redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trouble is in its record; an end by an error is not recorded as an end in good order."""
    monkeypatch.setattr(presence, "SIGN_SECONDS", 0.02)
    vitals = Vitals(Heartbeat(tmp_path / "heartbeat"), [Broker.KRAKEN])
    life = LoopLife(StageRecord.of_this_process(Stage.COPY_ENGINE), vitals)
    urls = {Broker.KRAKEN: fresh_redis_url}

    async def state() -> tuple[StageState, str | None]:
        for found in (await asyncio.to_thread(pipeline_in, fresh_redis_url)).stages:
            return found.state, found.trouble
        return StageState.STARTING, None

    async with signs_of_life(life, urls, NO_DATABASE):
        vitals.duty(Broker.KRAKEN).worked()
        vitals.duty(Broker.KRAKEN).held_up("a fill waits")
        async with asyncio.timeout(10):
            while await state() != (StageState.RUNNING, "a fill waits"):
                await asyncio.sleep(0.02)
    assert await state() == (StageState.STOPPED, None)

    async def end_by_an_error() -> None:
        async with signs_of_life(life, urls, NO_DATABASE):
            await asyncio.sleep(0.2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await end_by_an_error()
    assert (await state())[0] is StageState.RUNNING


async def test_a_process_ends_at_once_at_any_moment(fresh_redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while a sign of life is under way: redis-py loses a cancellation now and then, and nothing waits for it."""
    monkeypatch.setattr(presence, "SIGN_SECONDS", 0.001)
    for number in range(60):
        vitals = Vitals(Heartbeat(None), [Broker.KRAKEN])
        life = LoopLife(StageRecord.of_this_process(Stage.COPY_ENGINE), vitals)
        async with asyncio.timeout(presence.LAST_SIGN_SECONDS):
            async with signs_of_life(life, {Broker.KRAKEN: fresh_redis_url}, NO_DATABASE):
                await asyncio.sleep(number / 3_000)


async def test_a_process_that_cannot_reach_redis_says_so_in_postgresql(
    engine: Engine, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it last found wrong, once in a while for as long as it lasts."""
    monkeypatch.setattr(presence, "SIGN_SECONDS", 0.02)
    monkeypatch.setattr(presence, "ELSEWHERE_AFTER_SECONDS", 0.1)
    vitals = Vitals(Heartbeat(None), [Broker.KRAKEN])
    life = LoopLife(StageRecord.of_this_process(Stage.COPY_ENGINE), vitals)
    vitals.duty(Broker.KRAKEN).without_server("Redis: no password")
    async with signs_of_life(life, {Broker.KRAKEN: NO_REDIS}, fresh_database_url), asyncio.timeout(30):
        while not (reports := await asyncio.to_thread(recent_stage_reports, engine, 60)):
            await asyncio.sleep(0.05)
    assert [(each.broker, each.stage, each.state, each.message) for each in reports] == [
        (Broker.KRAKEN, "copy_engine", "starting", "Redis: no password")
    ]


def test_a_failed_start_is_left_in_redis(fresh_redis_url: str, engine: Engine, fresh_database_url: str) -> None:
    """At each of its brokers; PostgreSQL is not needed."""
    record = StageRecord.of_this_process(Stage.BOOKKEEPER)
    urls = dict.fromkeys((Broker.KRAKEN, Broker.OKX), fresh_redis_url)
    leave_failure(record, "run `nija migrate`", urls, fresh_database_url)
    for broker in urls:
        [found] = pipeline_in(fresh_redis_url, broker).stages
        assert (found.stage, found.state, found.trouble) == (Stage.BOOKKEEPER, StageState.FAILED, "run `nija migrate`")
    assert recent_stage_reports(engine, 60) == []


def test_a_failed_start_without_redis_is_left_in_postgresql(engine: Engine, fresh_database_url: str) -> None:
    """Also of a process that could not even read for which broker it works; the newest line counts."""
    record = StageRecord.of_this_process(Stage.BROKER_WORKER)
    leave_failure(record, "first", {}, fresh_database_url)
    leave_failure(record, "NIJA_LEASE_SECONDS is not valid", {}, fresh_database_url)
    leave_failure(record, "REDIS_URL: wrong password", {Broker.OKX: NO_REDIS}, fresh_database_url)
    found = {each.broker: (each.state, each.message) for each in recent_stage_reports(engine, 60)}
    assert found == {
        None: ("failed", "NIJA_LEASE_SECONDS is not valid"),
        Broker.OKX: ("failed", "REDIS_URL: wrong password"),
    }


def test_a_failed_start_without_any_server_only_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """Its line is in its log; leaving it elsewhere fails without an error."""
    record = StageRecord.of_this_process(Stage.BROKER_WORKER)
    leave_failure(record, "why", {Broker.OKX: NO_REDIS}, NO_DATABASE)
    leave_failure(record, "why", {Broker.OKX: NO_REDIS}, None)
    assert "Traceback" not in capsys.readouterr().err


def test_reports_in_postgresql_grow_old(engine: Engine, fresh_database_url: str) -> None:
    """Only those of the last seconds are returned, with their age."""
    write_stage_report(fresh_database_url, Broker.KRAKEN, "copy_engine", "host", "running", "why")
    [report] = recent_stage_reports(engine, 60)
    assert (report.host, report.message) == ("host", "why")
    assert 0 <= report.age_seconds < 30
    assert recent_stage_reports(engine, 0) == []
