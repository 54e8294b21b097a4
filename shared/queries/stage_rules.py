"""Decides from signs of life whether a stage is alive, starting, in a crash loop or absent. Pure."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shared.messaging.stage_signs import SIGN_SECONDS, Stage, StageState
from shared.queries.pipeline_facts import StageProcess

ALIVE_SECONDS: Final = 10.0
"""Five signs of life are missing then. A replacement by a new version, or a restart, is quicker."""
SUPERSEDED_SECONDS: Final = 2.5 * SIGN_SECONDS
"""A process that was replaced on its host is over already when two of its signs are missing."""
START_SECONDS: Final = 60.0
"""A process may take so long to start. `nija up` and the start-up probes give it no less."""
LOOP_SECONDS: Final = 900.0
"""Kubernetes waits up to 5 minutes before it starts a container that crashes again: three starts fit in."""
LOOP_ENDS: Final = 3
"""One or two unexpected ends may be accidents, such as a lack of memory or a `kill -9`."""
STEADY_SECONDS: Final = 300.0
"""A process that has run for so long has left the crash loop. Container platforms count alike."""


class Loop(NamedTuple):
    """Processes of one stage on one host that end again and again."""

    stage: Stage
    host: str
    ends: int


class Presence:
    """The processes of all stages at one broker, at one moment."""

    def __init__(
        self,
        processes: Sequence[StageProcess],
        now: datetime,
        *,
        awaited: Collection[Stage] = (),
        looping: Collection[Stage] = (),
        redis_up_seconds: float = float("inf"),
    ) -> None:
        """`awaited`, `looping`: stages that the supervisor of `nija up` starts now for the first time, and those that
        it had to start again and again. `redis_up_seconds`: how long ago Redis started.
        """
        self.processes = processes
        self.now = now
        self._awaited = awaited
        self._redis_up_seconds = redis_up_seconds
        self.loops = list(self._loops())
        self._looping = {*looping, *(loop.stage for loop in self.loops)}

    def of(self, stage: Stage) -> list[StageProcess]:
        return [process for process in self.processes if process.stage is stage]

    def works(self, stage: Stage) -> bool:
        """Whether a process of the stage is alive and in working order."""
        return any(map(is_working, self.of(stage)))

    def is_absent(self, stage: Stage) -> bool:
        """Whether no process of the stage is alive, none was a moment ago, and none is starting.

        Redis may have started a moment ago. Then the last signs of life are as old as its absence.
        """
        if self._redis_up_seconds <= ALIVE_SECONDS:
            return False
        if stage in self._looping:
            return not self.works(stage)
        recent = any(
            each.sign_age_seconds <= ALIVE_SECONDS
            and (each.state in (StageState.RUNNING, StageState.STOPPED) or is_just_broken(each))
            for each in self.of(stage)
        )
        return not (recent or self.is_starting(stage))

    def is_starting(self, stage: Stage) -> bool:
        """Whether a process of the stage may still be on its way, because it, or everything, has just been started."""
        if stage in self._looping:
            return False
        if stage in self._awaited or any(self._has_just_started(each) for each in self.of(stage)):
            return True
        alive = [each for each in self.processes if is_fresh(each)]
        if not alive:
            return False
        began = min(each.started_at for each in alive)
        if self.now - began > timedelta(seconds=START_SECONDS):
            return False
        # Everything was started a moment ago. A stage that has been there since is not starting any more.
        return not any(self._last_sign(each) >= began for each in self.of(stage) if each.state is not StageState.FAILED)

    def working_seconds(self, stage: Stage) -> float:
        """For how long the stage has been able to do what waits for it: since it and Redis have both been there."""
        return min(self.running_seconds(stage), self._redis_up_seconds)

    def running_seconds(self, stage: Stage) -> float:
        """For how long the stage has run, also without Redis.

        What waited while it was down is no fault of a process that has just started. For a stage that is absent or in
        a crash loop, all of the waiting counts.
        """
        if stage in self._looping:
            return float("inf")
        started = [each.started_at for each in self.of(stage) if is_working(each) or self._has_just_started(each)]
        if started:
            return (self.now - min(started)).total_seconds()
        return 0.0 if self.is_starting(stage) else float("inf")

    def is_replaced(self, stage: Stage, host: str) -> bool:
        """Whether a process on another host works, and started after the last sign of life from this host.

        A container that is made again, for example with a corrected setting, has another host name.
        """
        here = [self._last_sign(each) for each in self.of(stage) if each.host == host]
        return any(
            is_working(each) and each.host != host and each.started_at > max(here, default=each.started_at)
            for each in self.of(stage)
        )

    def _has_just_started(self, process: StageProcess) -> bool:
        age = (self.now - process.started_at).total_seconds()
        return process.state is StageState.STARTING and age <= START_SECONDS and not self._is_over(process)

    def _last_sign(self, process: StageProcess) -> datetime:
        return self.now - timedelta(seconds=process.sign_age_seconds)

    def _is_over(self, process: StageProcess) -> bool:
        """Whether the process has ended. One that starts gives no sign until it has started."""
        if process.state in (StageState.FAILED, StageState.STOPPED):
            return True
        replaced = any(
            each.host == process.host and each.started_at > process.started_at for each in self.of(process.stage)
        )
        if process.state is StageState.STARTING and process.sign_age_seconds > ALIVE_SECONDS:
            # It may have no event loop yet, and so no regular sign of life.
            return replaced or (self.now - process.started_at).total_seconds() > START_SECONDS
        return process.sign_age_seconds > (SUPERSEDED_SECONDS if replaced else ALIVE_SECONDS)

    def _loops(self) -> Iterator[Loop]:
        if self._redis_up_seconds <= ALIVE_SECONDS:
            return  # a process that lives has not been able to say so yet
        ends: dict[tuple[Stage, str], int] = {}
        for each in self.processes:
            unexpected = each.state is not StageState.STOPPED and self._is_over(each)
            if unexpected and each.sign_age_seconds <= LOOP_SECONDS:
                ends[each.stage, each.host] = ends.get((each.stage, each.host), 0) + 1
        for (stage, host), count in sorted(ends.items()):
            steady = any(
                is_working(each) and (self.now - each.started_at).total_seconds() >= STEADY_SECONDS
                for each in self.of(stage)
                if each.host == host
            )
            if count >= LOOP_ENDS and not steady and not self.is_replaced(stage, host):
                yield Loop(stage, host, count)


def is_fresh(process: StageProcess) -> bool:
    """Whether it gave a sign of life a moment ago and has not ended."""
    over = process.state in (StageState.STOPPED, StageState.FAILED)
    return not over and process.sign_age_seconds <= ALIVE_SECONDS


def is_working(process: StageProcess) -> bool:
    """Whether it is alive and in working order."""
    return process.state is StageState.RUNNING and process.sign_age_seconds <= ALIVE_SECONDS


def is_just_broken(process: StageProcess) -> bool:
    """Whether it says since a moment ago that it is broken. Children that were killed once are replaced at once."""
    return process.state is StageState.BROKEN and trouble_seconds(process) < ALIVE_SECONDS


def trouble_seconds(process: StageProcess) -> float:
    """For how long its trouble has been reported again and again; 0: there is none, or it was reported once."""
    if process.trouble_since is None or process.trouble_last is None:
        return 0.0
    return (process.trouble_last - process.trouble_since).total_seconds()
