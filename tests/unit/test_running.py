"""The frame of a stage's process."""

import asyncio
import os
import signal
from pathlib import Path
from time import monotonic

import pytest

from shared import running
from shared.domain.identity import Broker
from shared.observability.heartbeat import Heartbeat

BROKERS = (Broker.KRAKEN, Broker.OKX)


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

    await asyncio.wait_for(running.run_each(BROKERS, work, stopping), 5)

    assert begun.count(Broker.KRAKEN) == 3
    assert begun.count(Broker.OKX) == 1


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

    run = asyncio.create_task(running.run_each(BROKERS, work, stopping))
    await asyncio.sleep(0.05)
    stopping.set()
    await asyncio.wait_for(run, 5)

    assert ended == {Broker.KRAKEN: "cut short", Broker.OKX: "finished"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_both_signals_stop(number: signal.Signals) -> None:
    stopping = running.stop_by_signal()
    os.kill(os.getpid(), number)
    await asyncio.wait_for(stopping.wait(), 5)


async def test_a_heartbeat_that_cannot_be_written_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(running, "HEARTBEAT_SECONDS", 0.01)
    no_folder = tmp_path / "beat"
    no_folder.write_text("a file, where the folder should be")
    beating = asyncio.create_task(running.keep_beating(Heartbeat(no_folder / "beat")))
    await asyncio.sleep(0.05)
    no_folder.unlink()
    async with asyncio.timeout(5):
        while not (no_folder / "beat").exists():
            await asyncio.sleep(0.01)
    beating.cancel()


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
