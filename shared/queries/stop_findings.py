"""Decides what `nija status` finds about stops. Pure."""

from collections.abc import Iterator, Sequence

from shared.domain.identity import Broker
from shared.domain.stop import Stop, StopState, state_at
from shared.queries.findings import Finding, FindingKind


def stop_findings(stops: Sequence[Stop]) -> Iterator[Finding]:
    """Every stop that stands, from PostgreSQL."""
    for stop in stops:
        scope = stop.scope
        reason = f": {stop.reason}" if stop.reason else ""
        message = (
            f"trading is stopped for {scope.name} ({stop.mode.value}) since {stop.changed_at:%Y-%m-%d %H:%M:%S} UTC "
            f"by {stop.actor}{reason}. `nija resume{scope.options}` ends it"
        )
        subject = scope.follower_id or "trading"
        yield Finding(kind=FindingKind.STOPPED, broker=scope.broker, subject=subject, message=message)


def stops_of_redis(broker: Broker, state: StopState) -> Iterator[Finding]:
    """What is stopped at a broker, from its Redis, which does not know the actor and the scope."""
    if state.broker_mode is not None:
        message = f"trading is stopped ({state.broker_mode.value}); see `nija status`"
        yield Finding(kind=FindingKind.STOPPED, broker=broker, subject="trading", message=message)
    for follower_id, mode in state.follower_modes.items():
        message = f"trading is stopped for {follower_id} ({mode.value}); see `nija status`"
        yield Finding(kind=FindingKind.STOPPED, broker=broker, subject=follower_id, message=message)


def unseen_stop_findings(broker: Broker, stops: Sequence[Stop], seen: StopState | None) -> Iterator[Finding]:
    """A difference between PostgreSQL and Redis. A bookkeeper removes it within a second.

    While Redis has no state at all, the processes send nothing. That is a finding only if something is stopped.
    """
    expected = state_at(broker, stops, 0)
    known = seen.model_copy(update={"revision": 0}) if seen else state_at(broker, (), 0)
    if known != expected:
        message = (
            "the processes have not seen the newest `nija stop` or `nija resume`: a bookkeeper has to write it into "
            "Redis. Start one, or read its log"
        )
        yield Finding(kind=FindingKind.STOP_NOT_SEEN, broker=broker, subject="trading", message=message)
