"""Keeps processes running: it starts each process again that ends by itself, and announces every event.

The first restart comes at once, the following ones after growing pauses. honcho, the obvious choice, ends all processes
as soon as one ends. Here `kill -9` of any process is an everyday fault that the others must survive. Therefore nija has
its own supervisor.
"""

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from services.local_system.errors import LocalSystemError, StartFailed
from services.local_system.logs import continue_log
from services.local_system.process import ManagedProcess, ProcessSpec, describe_exit
from shared.domain.backoff import Backoff
from shared.queries.stage_rules import LOOP_ENDS, LOOP_SECONDS

_BACKOFF: Final = Backoff(0.25, 10)
_STABLE_SECONDS: Final = 30.0
"""After it has lived this long, a process is restarted without a pause."""
_REMIND_EVERY: Final = 10
"""A crash loop is announced when it is noticed, and again after this many crashes."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What is known of a process. `started_at`: seconds since 1970. `state`: starting, running, waiting, stopped."""

    name: str
    pid: int | None
    restarts: int
    started_at: float | None
    state: str
    recent_ends: int = 0
    """How often it ended unexpectedly in the last 15 minutes."""
    last_end: str = ""
    """How it ended last, with the last line of its log."""


@dataclass(slots=True)
class _Entry:
    spec: ProcessSpec
    batch: int
    process: ManagedProcess | None = None
    restarts: int = 0
    state: str = "starting"
    ends: deque[float] = field(default_factory=deque)
    """When it ended unexpectedly in the last 15 minutes, in seconds since 1970."""
    last_end: str = ""
    watch: asyncio.Task[None] | None = None

    def ended(self, how: str) -> int:
        """Record an unexpected end. Return the number of such ends in the last 15 minutes."""
        self.ends.append(time.time())
        self.last_end = how
        return self.recent_ends()

    def recent_ends(self) -> int:
        while self.ends and self.ends[0] < time.time() - LOOP_SECONDS:
            self.ends.popleft()
        return len(self.ends)


class Supervisor:
    """Runs processes. `announce` gets one line per event. `changed` is called after each change of the process table."""

    def __init__(self, announce: Callable[[str], None], changed: Callable[[], None] = lambda: None) -> None:
        self._announce = announce
        self._changed = changed
        self._entries: dict[str, _Entry] = {}
        self._batches = 0

    @property
    def processes(self) -> list[ProcessState]:
        """The process table, in the order of starting."""
        return [
            ProcessState(
                name=entry.spec.name,
                pid=entry.process.pid if entry.process and entry.process.exit_code is None else None,
                restarts=entry.restarts,
                started_at=entry.process.started_at if entry.process else None,
                state=entry.state,
                recent_ends=entry.recent_ends(),
                last_end=entry.last_end,
            )
            for entry in self._entries.values()
        ]

    @property
    def specs(self) -> list[ProcessSpec]:
        """The processes as the caller requested them."""
        return [entry.spec for entry in self._entries.values()]

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Start processes at the same time, and return when all are ready.

        Raises StartFailed when one ends before it is ready. At the first start, that is a mistake to show and not a
        fault to survive.
        """
        self._batches += 1
        async with _first_error(), asyncio.TaskGroup() as group:
            for spec in specs:
                group.create_task(self._start_first(spec, self._batches))

    async def _start_first(self, spec: ProcessSpec, batch: int) -> None:
        entry = _Entry(spec, batch)
        self._entries[spec.name] = entry
        continue_log(spec.log_file, datetime.now(UTC))
        entry.process = await ManagedProcess.start(spec)
        self._changed()
        await entry.process.wait_ready()
        self._note(entry, "running")
        self._announce(f"{spec.name} is ready (process {entry.process.pid})")
        entry.watch = asyncio.create_task(self._keep_running(entry, entry.process), name=f"watch {spec.name}")

    async def _keep_running(self, entry: _Entry, process: ManagedProcess) -> None:
        ended_early = 0
        while True:
            code = await process.wait_end()
            if time.time() - process.started_at > _STABLE_SECONDS:
                ended_early = 0
            pause_seconds = _BACKOFF.after(ended_early)
            ends = entry.ended(process.end_in_words(code))
            self._note(entry, "waiting")
            after = f" in {pause_seconds:g} s" if pause_seconds else ""
            self._announce(f"{entry.spec.name} {describe_exit(code)}; it starts again{after}")
            if ends == LOOP_ENDS or ends % _REMIND_EVERY == 0:
                self._announce(
                    f"{entry.spec.name} crashes again and again, {ends} times in the last "
                    f"{LOOP_SECONDS / 60:.0f} min. It {entry.last_end}"
                )
            await asyncio.sleep(pause_seconds)
            ended_early += 1
            entry.restarts += 1
            try:
                process = await ManagedProcess.start(entry.spec)
            except LocalSystemError as error:
                self._announce(f"{entry.spec.name}: {error}")
                # There is no process to wait for, so the next round pauses longer.
                continue
            entry.process = process
            self._note(entry, "starting")
            try:
                await process.wait_ready()
            except StartFailed as error:
                self._announce(str(error))
                process.send(signal.SIGKILL)
                continue
            self._note(entry, "running")
            self._announce(f"{entry.spec.name} is ready again (process {process.pid})")

    def _note(self, entry: _Entry, state: str) -> None:
        entry.state = state
        self._changed()

    def kill(self, name: str, signal_number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process, as an accident would. Return its process id. Raises LocalSystemError."""
        entry = self._entries.get(name)
        if entry is None:
            raise LocalSystemError(f"there is no process {name!r}; there are {', '.join(self._entries)}")
        if entry.process is None or entry.process.exit_code is not None:
            raise LocalSystemError(f"{name} does not run at the moment")
        entry.process.send(signal_number)
        return entry.process.pid

    async def wait_running(self, name: str, *, restarts: int, timeout_seconds: float = 60.0) -> None:
        """Return when `name` runs and was restarted at least `restarts` times. Raises StartFailed."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            entry = self._entries[name]
            if entry.state == "running" and entry.restarts >= restarts:
                return
            if time.monotonic() > deadline:
                raise StartFailed(f"{name} did not come back within {timeout_seconds:g} s")
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End all processes. Those that were started together end together, and the last ones started end first."""
        for batch in range(self._batches, 0, -1):
            entries = [entry for entry in self._entries.values() if entry.batch == batch]
            watches = [entry.watch for entry in entries if entry.watch is not None]
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await asyncio.gather(*(self._stop_one(entry) for entry in entries))

    async def _stop_one(self, entry: _Entry) -> None:
        if entry.process is not None and entry.state != "stopped":
            code = await entry.process.stop()
            self._announce(f"{entry.spec.name} {describe_exit(code)}")
        self._note(entry, "stopped")


@contextlib.asynccontextmanager
async def _first_error() -> AsyncIterator[None]:
    """Raise only the first error of a task group, so that the user reads one cause."""
    try:
        yield
    except* LocalSystemError as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
