"""Tests that every caller of a script gets an answer, whatever becomes of the pipeline."""

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from shared.messaging.scripts import ScriptRunner


class Breaking:
    """A client whose commands fail with an error that is none of Redis, as uvloop's for a closed connection."""

    def __init__(self) -> None:
        self.commands = 0

    async def execute_command(self, *_: Any) -> Any:
        self.commands += 1
        await asyncio.sleep(0.01)
        raise RuntimeError("the handler is closed")


async def test_a_script_that_came_during_a_failed_batch_is_run_too() -> None:
    """An engine would otherwise wait for its reply forever, while it renews its leases: no other engine takes over."""
    client = Breaking()
    runner = ScriptRunner(cast("Redis", client))
    first = asyncio.create_task(runner.run("deliver", ["a"], []))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.create_task(runner.run("deliver", ["b"], []))
    async with asyncio.timeout(10):
        for each in (first, second):
            with pytest.raises(RuntimeError, match="handler is closed"):
                await each
    assert client.commands == 2


async def test_an_interrupted_pipeline_answers_every_caller() -> None:
    """Also the callers whose scripts waited for the next one."""
    runner = ScriptRunner(cast("Redis", Breaking()))
    callers = [asyncio.create_task(runner.run("deliver", ["a"], []))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    callers.append(asyncio.create_task(runner.run("deliver", ["b"], [])))
    await asyncio.sleep(0)
    (flushing,) = [task for task in asyncio.all_tasks() if "_flush" in repr(task)]
    flushing.cancel()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(result) for result in results] == ["interrupted", "interrupted"]
