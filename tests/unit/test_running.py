"""Tests the frame of a stage's process: signals, waits, defects and the grace at the end."""

import asyncio
import os
import signal
from time import monotonic

import pytest
import structlog
from structlog.testing import LogCapture

from shared import running
from shared.domain.identity import Broker
from shared.messaging.connection.errors import RedisHostUnknown, RedisUnavailable, RedisUnusable
from shared.observability.heartbeat import Heartbeat
from shared.observability.vitals import Vitals
from shared.persistence.errors import DatabaseUnavailable

BROKERS = (Broker.KRAKEN, Broker.OKX)
VITALS = Vitals(Heartbeat(None), BROKERS)


@pytest.fixture
def capture_logs(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    """What the frame logs."""
    capture = LogCapture()
    monkeypatch.setattr(running, "log", structlog.wrap_logger(None, processors=[capture]))
    return capture


async def test_a_defect_at_one_broker_begins_afresh_and_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "DEFECT_RETRY_SECONDS", 0.01)
    stopping = asyncio.Event()
    begun: list[Broker] = []

    async def work(broker: Broker) -> None:
        begun.append(broker)
        if begun.count(Broker.KRAKEN) == 3:
            stopping.set()
        if broker is Broker.KRAKEN:
            raise ZeroDivisionError
        await stopping.wait()

    await asyncio.wait_for(running.run_each(BROKERS, work, stopping, VITALS), 5)

    assert begun.count(Broker.KRAKEN) == 3
    assert begun.count(Broker.OKX) == 1
    trouble = VITALS.duty(Broker.KRAKEN).trouble
    assert trouble is not None
    assert trouble.text.startswith("its loop ended by an error: ZeroDivisionError")
    assert VITALS.duty(Broker.OKX).trouble is None


async def test_what_hangs_beyond_the_grace_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "GRACE_SECONDS", 0.05)
    stopping = asyncio.Event()
    ended: dict[Broker, str] = {}

    async def work(broker: Broker) -> None:
        try:
            await stopping.wait()
            if broker is Broker.KRAKEN:
                await asyncio.Event().wait()
            ended[broker] = "finished"
        except asyncio.CancelledError:
            ended[broker] = "cut short"
            raise

    run = asyncio.create_task(running.run_each(BROKERS, work, stopping, VITALS))
    await asyncio.sleep(0.05)
    stopping.set()
    await asyncio.wait_for(run, 5)

    assert ended == {Broker.KRAKEN: "cut short", Broker.OKX: "finished"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_both_signals_stop(number: signal.Signals) -> None:
    stopping = running.stop_by_signal()
    os.kill(os.getpid(), number)
    await asyncio.wait_for(stopping.wait(), 5)


async def test_a_wait_ends_with_its_time_or_with_its_event() -> None:
    """Whichever comes first; a time that is over already is no wait."""
    event = asyncio.Event()
    began = monotonic()
    await running.wait(event, 0.05)
    assert 0.04 < monotonic() - began < 5
    await running.wait(event, -1)
    waiting = asyncio.create_task(running.wait(event, 60))
    await asyncio.sleep(0)
    event.set()
    async with asyncio.timeout(5):
        await waiting
        await running.wait(event, 60)


async def test_a_wait_can_be_cancelled() -> None:
    """The cancellation reaches the task that waits, and is not taken for the end of the time."""
    waiting = asyncio.create_task(running.wait(asyncio.Event(), 60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_server_that_is_away_is_waited_for_and_reported_once(
    monkeypatch: pytest.MonkeyPatch, capture_logs: LogCapture
) -> None:
    """The process can say all the time what it waits for, so that no health check takes it for dead."""
    monkeypatch.setattr(running, "CHECK_AGAIN_SECONDS", 0.01)
    answers: list[Exception | str] = [RedisUnavailable("gone"), RedisUnavailable("gone"), DatabaseUnavailable("asleep")]
    reasons: list[str] = []

    def check() -> str:
        answer = answers.pop(0) if answers else "found"
        if isinstance(answer, Exception):
            raise answer
        return answer

    found = await running.until_usable(check, asyncio.Event(), reasons.append)
    assert found == "found"
    assert reasons == ["gone", "gone", "asleep"]
    assert [(entry["event"], entry["error"]) for entry in capture_logs.entries] == [
        ("redis is away", "gone"),
        ("the ledger is away", "asleep"),
    ]


async def test_a_server_that_cannot_be_used_is_not_waited_for() -> None:
    """Waiting would not change its configuration."""

    def check() -> None:
        raise RedisUnusable("it evicts")

    with pytest.raises(RedisUnusable, match="it evicts"):
        await running.until_usable(check, asyncio.Event())


async def test_waiting_for_a_server_ends_when_the_process_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and with nothing found."""
    stopping = asyncio.Event()

    def check() -> None:
        raise RedisUnavailable("gone")

    asyncio.get_running_loop().call_later(0.05, stopping.set)
    async with asyncio.timeout(0.9):
        assert await running.until_usable(check, stopping) is None


async def test_an_unknown_name_is_tried_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A private network may know it a moment later; a name that stays unknown is a mistake."""
    monkeypatch.setattr(running, "CHECK_AGAIN_SECONDS", 0.01)
    tries: list[int] = []

    def known_at_the_third_try() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise RedisHostUnknown("no such name")
        return "found"

    assert await running.with_known_host(known_at_the_third_try, asyncio.Event()) == "found"
    monkeypatch.setattr(running, "UNKNOWN_NAME_SECONDS", 0.05)

    def never_known() -> None:
        raise RedisHostUnknown("no such name")

    with pytest.raises(RedisHostUnknown):
        await running.until_usable(never_known, asyncio.Event())


async def test_a_broker_whose_redis_cannot_be_used_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capture_logs: LogCapture
) -> None:
    """It came up later, wrongly set up: one line without a traceback, and another try after a while."""
    monkeypatch.setattr(running, "DEFECT_RETRY_SECONDS", 0.01)
    stopping = asyncio.Event()
    tries: list[Broker] = []

    async def work(broker: Broker) -> None:
        tries.append(broker)
        if tries.count(Broker.KRAKEN) == 3:
            stopping.set()
        if broker is Broker.KRAKEN:
            raise RedisUnusable("it evicts")
        await stopping.wait()

    await asyncio.wait_for(running.run_each(BROKERS, work, stopping, VITALS), 5)
    assert tries.count(Broker.OKX) == 1
    assert all(entry["event"] == "redis cannot be used" and "exc_info" not in entry for entry in capture_logs.entries)
