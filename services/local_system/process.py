"""Starts one supervised process, waits until it is ready, and ends it.

The child of a `ProcessSpec` runs in a process group of its own. So Ctrl-C in the terminal reaches only the
supervisor, and what a killed child leaves behind can be ended with it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.local_system.child import child_setup
from services.local_system.errors import StartFailed

_ASK_AGAIN_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process that the supervisor keeps running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    """All of it: nothing is inherited."""
    log_file: Path
    is_ready: Callable[[float], bool]
    """Asked in a thread, with the time of the start (seconds since 1970), until it says yes."""
    ready_seconds: float = 60.0
    grace_seconds: float = 10.0
    """Between the signal to stop and SIGKILL."""
    stop_signal: signal.Signals = signal.SIGTERM
    child_setup: Callable[[], None] | None = None
    """Run between fork and exec; by default the child gets the stop signal when the supervisor dies."""
    before_start: Callable[[], None] = field(default=lambda: None)
    """Run in a thread before each start, for what a killed process may have left behind."""
    working_folder: Path = field(default_factory=Path.cwd)
    reopens_log: bool = False
    """It begins a new log by itself when its log file is renamed: it heeds NIJA_LOG_FILE."""


class ManagedProcess:
    """A child made from a spec. Single use: a restart makes a new one."""

    def __init__(self, spec: ProcessSpec, process: asyncio.subprocess.Process, log_begins_at: int) -> None:
        self.spec = spec
        self._log_begins_at = log_begins_at
        """How long the log was when this process began to write."""
        self.started_at = time.time()
        """Seconds since 1970."""
        self._process = process

    @classmethod
    async def start(cls, spec: ProcessSpec) -> "ManagedProcess":
        """Start the child. Raises StartFailed when the command itself cannot be run."""
        await asyncio.to_thread(spec.before_start)
        descriptor = os.open(spec.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        log_begins_at = os.fstat(descriptor).st_size
        log_variable = {"NIJA_LOG_FILE": str(spec.log_file.absolute())} if spec.reopens_log else {}
        try:
            # Started from this thread: the kernel ties the child to the thread that made it.
            process = await asyncio.create_subprocess_exec(
                *spec.command,
                env={**spec.environment, **log_variable},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                cwd=spec.working_folder,
                start_new_session=True,
                preexec_fn=spec.child_setup or child_setup(spec.stop_signal),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise StartFailed(f"{spec.name} cannot be started: {error}") from error
        finally:
            os.close(descriptor)
        return cls(spec, process, log_begins_at)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the number of the signal that ended it."""
        return self._process.returncode

    async def wait_ready(self) -> None:
        """Return once it is ready. Raises StartFailed, with the last line of its log, when it ends or takes too long."""
        deadline = time.monotonic() + self.spec.ready_seconds
        while not await asyncio.to_thread(self.spec.is_ready, self.started_at):
            if self.exit_code is not None:
                raise StartFailed(
                    f"{self.spec.name} {describe_exit(self.exit_code)} at its start: {self._last_words()}"
                )
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{self.spec.name} was not ready within {self.spec.ready_seconds:g} s: {self._last_words()}"
                )
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def wait_end(self) -> int:
        """Return the exit code once it has ended, and end what it leaves behind in its group."""
        code = await self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return code

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal to the process itself; nothing happens if it has ended."""
        # Not through Popen: its send_signal() polls first, and what its poll() reaps is lost to asyncio's watcher,
        # which then reports exit code 255.
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)

    async def stop(self) -> int:
        """End it in good order, or by force after the grace; return the exit code."""
        if self.exit_code is None:
            self.send(self.spec.stop_signal)
            # A paused process gets the signal only when it goes on.
            self.send(signal.SIGCONT)
            try:
                async with asyncio.timeout(self.spec.grace_seconds):
                    return await self.wait_end()
            except TimeoutError:
                self.send(signal.SIGKILL)
        return await self.wait_end()

    def end_in_words(self, code: int) -> str:
        """How it ended. A process that was not killed says why with its last line."""
        how = describe_exit(code)
        return f"{how}: {self._last_words()}" if code > 0 else f"{how} (log: {self.spec.log_file})"

    def _last_words(self) -> str:
        """The line with which a process says why it does not start is its last one."""
        try:
            with self.spec.log_file.open(errors="replace") as log:
                log.seek(self._log_begins_at)
                lines = log.read().splitlines()
        except FileNotFoundError:
            lines = []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
        return f"{last} (log: {self.spec.log_file})"


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
