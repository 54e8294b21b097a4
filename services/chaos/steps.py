"""Strikes at each step of the protocol in turn, and checks every promise afterwards.

The process that reaches the step is killed or paused, or Redis or PostgreSQL is killed at that very moment.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from services.chaos.ground import PAUSE_SECONDS, Ground, data_folder, started_through
from services.chaos.inject import Injector
from services.chaos.invariants import Found, check
from services.chaos.plan import Injection
from services.chaos.protocol_steps import STEPS, Step, by_turns
from services.chaos.strike import arm, disarm, struck
from services.chaos.wake_ups import WakeUps
from services.demo.person import Person
from services.local_system.errors import LocalSystemError
from shared.domain.identity import Broker

FOLLOWERS = 6
REACH_SECONDS = 60.0
"""A step that is not reached within this time is no longer a step of the protocol."""
TRIGGER_EVERY_SECONDS = 5.0
SETTLE_SECONDS = 90.0
POLL_SECONDS = 0.05
LANES = 3
"""The number of systems that run side by side."""
Strike = tuple[Step, str]
"""A step and an action."""
ACTIONS = {
    "kill": signal.SIGKILL,
    "pause": signal.SIGSTOP,
    "kill redis": signal.SIGSTOP,
    "kill postgres": signal.SIGSTOP,
}
"""What the process that reaches the step does to itself. It stands still while a server is killed, and then continues."""
SERVER_AWAY_SECONDS = 0.2


async def run_steps(
    brokers: Sequence[Broker], seed: int, announce: Callable[[str], None], *, keep: bool = False
) -> dict[str, Any]:
    """Return a row for each broker, step and action. Raises LocalSystemError when a system does not start.

    Most of a row is waiting for claims, leases and look-ups. Therefore several systems work side by side, and each
    takes one row after another.
    """
    rows: list[dict[str, Any]] = []
    for broker in brokers:
        waiting = [(step, action) for action in ACTIONS for step in by_turns()]
        starting = asyncio.Lock()
        lanes = [
            asyncio.create_task(_lane(number, broker, seed, waiting, starting, announce, keep=keep))
            for number in range(1, LANES + 1)
        ]
        try:
            found = [row for lane in await asyncio.gather(*lanes) for row in lane]
        finally:
            # One cancellation makes a lane stop its system. Leaving now, or cancelling again, would interrupt that.
            for lane in lanes:
                if not lane.cancelling():
                    lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
        rows += sorted(found, key=lambda row: (row["number"], row["action"]))
    return {
        "seed": seed,
        "brokers": [broker.value for broker in brokers],
        "rows": rows,
        "violations": sum(row["violations"] for row in rows),
        "holds": all(row["holds"] for row in rows),
    }


async def _lane(
    lane: int,
    broker: Broker,
    seed: int,
    waiting: list[Strike],
    starting: asyncio.Lock,
    announce: Callable[[str], None],
    *,
    keep: bool,
) -> list[dict[str, Any]]:
    """Start a system and make rows on it until no strike is `waiting`."""
    strikes = data_folder(lane) / "strikes"
    change = started_through("services.chaos.strike", str(strikes))
    ground = Ground([broker], followers=FOLLOWERS, seed=seed, announce=_quiet, change=change, lane=lane)
    rows: list[dict[str, Any]] = []
    try:
        async with contextlib.AsyncExitStack() as stack:
            async with starting:  # two threads cannot migrate at once: Alembic's context is global
                await stack.enter_async_context(ground.started())
            strikes.mkdir()
            await StepRun(ground, broker, strikes, announce).make(rows, waiting)
    except asyncio.CancelledError:
        _leave(ground, rows, announce, keep=keep)
        raise
    _leave(ground, rows, announce, keep=keep)
    return rows


def _leave(ground: Ground, rows: Sequence[dict[str, Any]], announce: Callable[[str], None], *, keep: bool) -> None:
    """Keep or delete the data after the system has stopped, at the end or after an interruption."""
    if keep or not all(row["holds"] for row in rows):
        announce(f"kept: {ground.home}")
    else:
        ground.clear()


class StepRun:
    """Makes the rows one after another on a running system."""

    def __init__(self, ground: Ground, broker: Broker, strikes: Path, announce: Callable[[str], None]) -> None:
        self._ground = ground
        self._broker = broker
        self._strikes = strikes
        self._announce = announce
        self._injector = Injector(ground.system, ground.engine, ground.roster_changes, PAUSE_SECONDS, _quiet)
        self._wake_ups = WakeUps(ground.redis, [broker])
        self._before: dict[str, int] = {}
        """Violations of earlier rows. A row reports only its own."""

    async def make(self, rows: list[dict[str, Any]], waiting: list[Strike]) -> None:
        """Take strikes off `waiting` until none is left, and append a row for each."""
        async with self._wake_ups.watched(), self._ground.person(self._broker) as person:
            while waiting:
                rows.append(await self._row(*waiting.pop(0), person))

    async def _row(self, step: Step, action: str, person: Person) -> dict[str, Any]:
        arm(self._strikes, STEPS.index(step), ACTIONS[action])
        trading = asyncio.create_task(self._trade(person))
        pid = await self._struck(step)
        struck_at = time.monotonic()
        disarm(self._strikes)
        if pid is not None and ACTIONS[action] is signal.SIGSTOP:
            await self._while_it_stands(action)
            with contextlib.suppress(ProcessLookupError):  # it ended while it stood still
                os.kill(pid, signal.SIGCONT)
        await trading
        await self._injector.end()
        await self._ground.settle(SETTLE_SECONDS)
        seconds = time.monotonic() - struck_at
        seen = await self._ground.evidence(self._broker)
        broken = self._broken(check(seen._replace(asleep=tuple(self._wake_ups.lost[self._broker]))))
        holds = pid is not None and not broken
        row = {
            "number": STEPS.index(step) + 1,
            "broker": self._broker.value,
            "process": step.process,
            "step": step.name,
            "action": action,
            "outcome": "holds" if holds else ", ".join(broken) or "the step was not reached",
            "holds": holds,
            "violations": sum(broken.values()),
            "settled_in_seconds": round(seconds, 1),
        }
        self._announce(f"{action} {step.process}: {step.name}: {row['outcome']} ({seconds:.0f} s)")
        return row

    async def _while_it_stands(self, action: str) -> None:
        if action == "pause":
            await asyncio.sleep(PAUSE_SECONDS)
            return
        with contextlib.suppress(LocalSystemError):  # it is away already
            self._ground.system.kill(action.removeprefix("kill "))
        await asyncio.sleep(SERVER_AWAY_SECONDS)

    async def _trade(self, person: Person) -> None:
        """Trade one round, then further ones until the step is reached or the time is over."""
        ends_at = time.monotonic() + REACH_SECONDS
        while True:
            await self._ground.trade_round(self._broker, person)
            if not (self._strikes / "armed").exists() or time.monotonic() > ends_at:
                return

    async def _struck(self, step: Step) -> int | None:
        """Wait until a process has struck itself. Repeat the failure that leads to the step, if it needs one."""
        ends_at = time.monotonic() + REACH_SECONDS
        trigger_at = time.monotonic()
        while (pid := struck(self._strikes)) is None and time.monotonic() < ends_at:
            if step.trigger is not None and time.monotonic() >= trigger_at:
                await self._injector.inject(Injection(step.trigger, self._broker, 0.0, 0))
                trigger_at = time.monotonic() + TRIGGER_EVERY_SECONDS
            await asyncio.sleep(POLL_SECONDS)
        return pid

    def _broken(self, found: Found) -> dict[str, int]:
        """By promise, the number of violations that are new since the row before."""
        counts = {name: number for name, (number, _) in found.violations.items()}
        new = {name: number - self._before.get(name, 0) for name, number in counts.items()}
        self._before = counts
        return {name: number for name, number in new.items() if number > 0}


def _quiet(_line: str) -> None:
    """Print nothing: of systems that run side by side, only the rows are reported."""
