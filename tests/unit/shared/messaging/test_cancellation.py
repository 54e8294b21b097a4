"""Tests that a task ends although it loses a cancellation, as redis-py does."""

import asyncio
import contextlib

import pytest

from shared.messaging import cancellation
from shared.messaging.cancellation import end_tasks


async def test_a_task_that_loses_a_cancellation_is_canceled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task that waits for its end would wait forever."""
    monkeypatch.setattr(cancellation, "CANCEL_AGAIN_SECONDS", 0.01)
    lost = 0

    async def loses_the_first() -> None:
        nonlocal lost
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        lost += 1
        await asyncio.sleep(60)

    task = asyncio.create_task(loses_the_first())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end_tasks(task)
    assert task.cancelled()
    assert lost == 1


async def test_the_end_of_nothing_and_of_ended_tasks_returns_at_once() -> None:
    """Their errors stay in them."""

    async def failing() -> None:
        raise ValueError("a defect")

    failed = asyncio.create_task(failing())
    await asyncio.wait({failed})
    await end_tasks()
    await end_tasks(failed)
    assert isinstance(failed.exception(), ValueError)
