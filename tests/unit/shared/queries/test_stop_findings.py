"""A stop is a finding in words that say who set it and what ends it."""

from datetime import UTC, datetime

import pytest

from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import Stop, StopMode, StopScope, StopState, state_at
from shared.queries.findings import FindingKind
from shared.queries.stop_findings import unseen_stop_findings
from tests.support.operators.status_facts import broker, pipeline, system

KRAKEN = Broker.KRAKEN
SINCE = "since 2026-01-02 00:00:00 UTC by cli:ann"
ALICE = StopScope(broker=KRAKEN, follower_id=FollowerId("alice"))


def a_stop(scope: StopScope, mode: StopMode = StopMode.HALT, reason: str = "") -> Stop:
    """A stop that ann set."""
    return Stop(scope=scope, mode=mode, actor="cli:ann", reason=reason, changed_at=datetime(2026, 1, 2, tzinfo=UTC))


def test_each_stop_is_one_finding_of_its_scope() -> None:
    """With actor, reason, mode, and the command that ends it."""
    stops = (a_stop(StopScope(), reason="a drill"), a_stop(ALICE, StopMode.CLOSE_ONLY))
    seen = state_at(KRAKEN, stops, 3)
    status = system(stops=stops, brokers=(broker(pipeline=pipeline(stop=seen)),))
    assert [(each.kind, each.broker, each.subject, each.message) for each in status.findings()] == [
        (
            FindingKind.STOPPED,
            None,
            "trading",
            f"trading is stopped for all brokers (halt) {SINCE}: a drill. `nija resume` ends it",
        ),
        (
            FindingKind.STOPPED,
            KRAKEN,
            "alice",
            f"trading is stopped for alice at kraken (close-only) {SINCE}. `nija resume{ALICE.options}` ends it",
        ),
    ]


def test_without_postgresql_the_stops_are_those_of_redis() -> None:
    """Redis does not know who set them."""
    seen = StopState(revision=3, broker_mode=StopMode.HALT, follower_modes={FollowerId("alice"): StopMode.CLOSE_ONLY})
    status = system(database_error="away", brokers=(broker(pipeline=pipeline(stop=seen)),))
    messages = [each.message for each in status.findings() if each.kind is FindingKind.STOPPED]
    assert messages == [
        "trading is stopped (halt); see `nija status`",
        "trading is stopped for alice (close-only); see `nija status`",
    ]


@pytest.mark.parametrize(
    ("stops", "seen", "is_found"),
    [
        ((), None, False),
        ((), StopState(revision=0), False),
        ((a_stop(ALICE),), StopState(revision=7, follower_modes={FollowerId("alice"): StopMode.HALT}), False),
        ((a_stop(StopScope(broker=Broker.OKX)),), StopState(revision=1), False),
        ((a_stop(StopScope()),), None, True),
        ((a_stop(StopScope()),), StopState(revision=1), True),
        ((a_stop(ALICE, StopMode.HALT),), StopState(revision=1, follower_modes={}), True),
        ((), StopState(revision=1, broker_mode=StopMode.HALT), True),
    ],
)
def test_a_stop_or_a_resumption_that_redis_does_not_have_is_found(
    stops: tuple[Stop, ...], seen: StopState | None, is_found: bool
) -> None:
    """No bookkeeper mirrors it. A Redis without any state is a finding only if something is stopped."""
    found = [each.kind for each in unseen_stop_findings(KRAKEN, stops, seen)]
    assert found == ([FindingKind.STOP_NOT_SEEN] if is_found else [])
