"""Tests which stop holds for an account, when several scopes are stopped."""

from datetime import UTC, datetime
from itertools import product

import pytest
from pydantic import ValidationError

from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import Stop, StopMode, StopScope, StopState, state_at, strictest

ALL = StopScope()
KRAKEN = StopScope(broker=Broker.KRAKEN)
ALICE = StopScope(broker=Broker.KRAKEN, follower_id=FollowerId("alice"))
MODES: list[StopMode | None] = [None, *StopMode]


def a_stop(scope: StopScope, mode: StopMode) -> Stop:
    """A stop of that scope."""
    return Stop(scope=scope, mode=mode, actor="test", reason="", changed_at=datetime(2026, 1, 5, tzinfo=UTC))


@pytest.mark.parametrize(("everywhere", "broker", "follower"), list(product(MODES, repeat=3)))
def test_the_strictest_stop_that_applies_wins(
    everywhere: StopMode | None, broker: StopMode | None, follower: StopMode | None
) -> None:
    """For every combination of stops of all brokers, of one broker and of one follower."""
    given = ((ALL, everywhere), (KRAKEN, broker), (ALICE, follower))
    stops = [a_stop(scope, mode) for scope, mode in given if mode is not None]
    kraken, okx = state_at(Broker.KRAKEN, stops, 7), state_at(Broker.OKX, stops, 7)

    def strictest_by_hand(*modes: StopMode | None) -> StopMode | None:
        by_hand = (StopMode.HALT, StopMode.FLATTEN, StopMode.CLOSE_ONLY)
        return next((mode for mode in by_hand if mode in modes), None)

    assert kraken.mode_of(FollowerId("alice")) == strictest_by_hand(everywhere, broker, follower)
    assert kraken.mode_of(FollowerId("bob")) == strictest_by_hand(everywhere, broker)
    assert okx.mode_of(FollowerId("alice")) == everywhere
    assert kraken.revision == okx.revision == 7


def test_nothing_is_stopped_without_a_stop() -> None:
    """No mode among no stops."""
    assert strictest([]) is None
    assert state_at(Broker.KRAKEN, [], 0) == StopState(revision=0)


def test_a_follower_is_stopped_at_one_broker() -> None:
    """Ids of followers are unique per broker only."""
    with pytest.raises(ValidationError, match="name the broker"):
        StopScope(follower_id=FollowerId("alice"))


def test_a_scope_has_a_name_and_the_options_that_name_it() -> None:
    """Messages quote the options, so that an operator can copy them."""
    assert [(scope.name, scope.options) for scope in (ALL, KRAKEN, ALICE)] == [
        ("all brokers", ""),
        ("kraken", " --broker kraken"),
        ("alice at kraken", " --broker kraken --follower alice"),
    ]


def test_the_state_on_the_wire_stays_readable() -> None:
    """The wire form that version 1 began with."""
    text = '{"version":1,"revision":12,"broker_mode":"close-only","follower_modes":{"alice":"halt"}}'
    state = StopState.model_validate_json(text)
    assert state.model_dump_json() == text
    assert state.mode_of(FollowerId("alice")) is StopMode.HALT
    assert state.mode_of(FollowerId("bob")) is StopMode.CLOSE_ONLY
