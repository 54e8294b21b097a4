"""Stops and resumptions are stored first, and then announced to the Redis of each broker."""

from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from shared.actions.context import ActionContext, RedisAddress
from shared.actions.errors import ActionRefused
from shared.actions.stop import resume_trading, stop_trading
from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import StopMode, StopScope, StopState
from shared.emergency_file import EMERGENCY_FILE
from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import parse_stop_state
from shared.persistence.errors import AmbiguousFollower, UnknownFollower
from tests.support.operators.operator import ACTOR, KRAKEN, NO_REDIS, Operator

ALICE = FollowerId("alice")


def mirrored(operator: Operator, broker: Broker = KRAKEN) -> StopState:
    """What the stages of a broker read."""
    with Redis.from_url(operator.redis_url) as redis:
        return parse_stop_state(redis.get(BrokerKeys(broker).stop))


def two_brokers(operator: Operator, okx_url: str) -> ActionContext:
    """A context of a system that trades at Kraken and OKX, each with a Redis of its own."""
    urls = {KRAKEN: operator.redis_url, Broker.OKX: okx_url}
    access = replace(operator.context.access, redis_of=lambda broker: RedisAddress("REDIS_URL", urls[broker]))
    return replace(operator.context, access=access, enabled=(KRAKEN, Broker.OKX))


def test_a_stop_of_all_brokers_reaches_each_of_them(operator: Operator) -> None:
    """The stages of every enabled broker read it at once."""
    context = two_brokers(operator, operator.redis_url)
    result = stop_trading(context, StopMode.HALT, actor=ACTOR, reason="a drill")
    assert (result.scope, result.before, result.unreached) == (StopScope(), None, {})
    assert [(stop.scope, stop.mode, stop.actor, stop.reason) for stop in result.standing] == [
        (StopScope(), StopMode.HALT, ACTOR, "a drill")
    ]
    assert {mirrored(operator, broker).broker_mode for broker in (KRAKEN, Broker.OKX)} == {StopMode.HALT}


def test_a_stop_of_one_broker_and_one_follower_leaves_the_others_alone(operator: Operator) -> None:
    """The follower is found without its broker, because it is at one only."""
    operator.store.add(KRAKEN, ALICE, operator.new_key("alice"), actor=ACTOR)
    context = two_brokers(operator, operator.redis_url)
    stop_trading(context, StopMode.CLOSE_ONLY, Broker.OKX, actor=ACTOR)
    result = stop_trading(context, StopMode.HALT, follower_id=ALICE, actor=ACTOR)
    assert result.scope == StopScope(broker=KRAKEN, follower_id=ALICE)
    assert mirrored(operator).mode_of(ALICE) is StopMode.HALT
    assert mirrored(operator).mode_of(FollowerId("bob")) is None
    assert mirrored(operator, Broker.OKX).mode_of(ALICE) is StopMode.CLOSE_ONLY


def test_a_second_stop_changes_the_mode_and_a_resumption_ends_it(operator: Operator) -> None:
    """A resumption without a stop says that there was none, and what remains stopped."""
    stop_trading(operator.context, StopMode.HALT, actor=ACTOR)
    stop_trading(operator.context, StopMode.HALT, KRAKEN, actor=ACTOR)
    changed = stop_trading(operator.context, StopMode.CLOSE_ONLY, KRAKEN, actor=ACTOR)
    assert changed.before is not None
    assert changed.before.mode is StopMode.HALT
    assert mirrored(operator).broker_mode is StopMode.HALT
    resumed = resume_trading(operator.context, actor=ACTOR, reason="over")
    assert resumed.before is not None
    assert [(stop.scope.broker, stop.mode) for stop in resumed.standing] == [(KRAKEN, StopMode.CLOSE_ONLY)]
    assert mirrored(operator).broker_mode is StopMode.CLOSE_ONLY
    again = resume_trading(operator.context, actor=ACTOR)
    assert (again.before, again.standing) == (None, resumed.standing)


def test_a_redis_that_is_away_delays_no_other_broker(operator: Operator) -> None:
    """The change is stored, Kraken has it, and OKX is named. A later change reaches OKX with everything."""
    context = two_brokers(operator, NO_REDIS)
    result = stop_trading(context, StopMode.HALT, actor=ACTOR)
    assert set(result.unreached) == {Broker.OKX}
    assert mirrored(operator).broker_mode is StopMode.HALT
    assert len(context.stops.standing().stops) == 1


def test_a_follower_of_two_brokers_or_of_none_is_refused(operator: Operator) -> None:
    """Nothing is stored."""
    operator.store.add(KRAKEN, ALICE, operator.new_key("alice"), actor=ACTOR)
    operator.store.add(Broker.ALPACA, ALICE, operator.new_key("alice"), actor=ACTOR)
    for follower_id, error in ((ALICE, AmbiguousFollower), (FollowerId("nobody"), UnknownFollower)):
        with pytest.raises(error):
            stop_trading(operator.context, StopMode.HALT, follower_id=follower_id, actor=ACTOR)
        with pytest.raises(error):
            resume_trading(operator.context, follower_id=follower_id, actor=ACTOR)
    with pytest.raises(ActionRefused, match="the reason has"):
        stop_trading(operator.context, StopMode.HALT, actor=ACTOR, reason="x" * 501)
    assert operator.context.stops.standing().stops == ()


def test_nothing_is_resumed_while_the_emergency_file_exists(operator: Operator, tmp_path: Path) -> None:
    """The text names the file. Without it, the resumption is accepted."""
    stop_trading(operator.context, StopMode.HALT, actor=ACTOR)
    context = replace(operator.context, emergency_folders=(tmp_path,))
    (tmp_path / EMERGENCY_FILE).touch()
    with pytest.raises(ActionRefused, match=f"the file {tmp_path}/EMERGENCY_STOP stops trading: remove it"):
        resume_trading(context, actor=ACTOR)
    (tmp_path / EMERGENCY_FILE).unlink()
    assert resume_trading(context, actor=ACTOR).standing == ()


def test_a_weaker_stop_is_refused_while_the_emergency_file_exists(operator: Operator, tmp_path: Path) -> None:
    """The file would make a halt of it within a second. The text names it, nothing is stored, and a halt is accepted."""
    context = replace(operator.context, emergency_folders=(tmp_path,))
    (tmp_path / EMERGENCY_FILE).touch()
    for mode in (StopMode.FLATTEN, StopMode.CLOSE_ONLY):
        for broker in (None, KRAKEN):
            with pytest.raises(
                ActionRefused, match=f"the file {tmp_path}/EMERGENCY_STOP halts trading.*remove it first"
            ):
                stop_trading(context, mode, broker, actor=ACTOR)
    assert context.stops.standing().stops == ()
    assert [each.mode for each in stop_trading(context, StopMode.HALT, actor=ACTOR).standing] == [StopMode.HALT]


def test_a_single_follower_is_not_flattened(operator: Operator) -> None:
    """The mode sells what the strategy opened for a master. The text says which scopes it has."""
    operator.store.add(KRAKEN, ALICE, operator.new_key("alice"), actor=ACTOR)
    with pytest.raises(ActionRefused, match="for all brokers, or for one broker"):
        stop_trading(operator.context, StopMode.FLATTEN, KRAKEN, ALICE, actor=ACTOR)
    result = stop_trading(operator.context, StopMode.FLATTEN, KRAKEN, actor=ACTOR)
    assert [stop.mode for stop in result.standing] == [StopMode.FLATTEN]
    assert mirrored(operator).broker_mode is StopMode.FLATTEN
