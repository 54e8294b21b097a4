"""A changed key of the environment is compared with the old one, and a follower keeps its status meanwhile.

The broker is a paper Kraken, which reports no identity. So an order of the old key shows whose account a key opens.
"""

import pytest
from sqlalchemy import Engine

from shared.actions.followers import pause_follower
from shared.actions.register_followers import register_followers
from shared.domain.accounts.credentials import Credentials, EnvironmentFollower
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import FollowerId
from shared.persistence.ledger.ledger import Ledger
from tests.support.ledger_examples import a_filled_event
from tests.support.operators.operator import ACTOR, KRAKEN, Operator

ALICE, BOB = FollowerId("alice"), FollowerId("bob")


def named(**keys: Credentials) -> list[EnvironmentFollower]:
    """The followers of the environment."""
    return [
        EnvironmentFollower(broker=KRAKEN, follower_id=FollowerId(name), credentials=key) for name, key in keys.items()
    ]


def two_keys(operator: Operator, engine: Engine, name: str, sequence: int = 1) -> tuple[Credentials, Credentials]:
    """Two keys of one account. An order was placed with the first one, and copied for the follower."""
    one, other = operator.paper.new_shared_account(operator.new_name(name), {"USD": "1000"})
    Ledger(engine).write([a_filled_event(name, sequence, broker_order_id=operator.order_with(one))])
    return one, other


def statuses(operator: Operator) -> dict[str, FollowerStatus]:
    return {each.follower_id: each.status for each in operator.store.all()}


def test_a_changed_key_is_taken_over_later_if_the_broker_does_not_answer(operator: Operator, engine: Engine) -> None:
    """Both followers keep their old keys, alice stays active, and bob stays paused. No operator has to do anything."""
    (alices, alices_new), (bobs, bobs_new) = two_keys(operator, engine, "alice"), two_keys(operator, engine, "bob", 2)
    register_followers(operator.context, named(alice=alices, bob=bobs))
    pause_follower(operator.context, BOB, actor=ACTOR)
    before = {ALICE: FollowerStatus.ACTIVE, BOB: FollowerStatus.PAUSED}
    new = named(alice=alices_new, bob=bobs_new)
    away = register_followers(operator.without_broker(), new)
    assert (away.updated, away.disabled, away.refused) == ((), (), {})
    assert sorted(away.postponed) == [(KRAKEN, ALICE), (KRAKEN, BOB)]
    assert "could not be asked whether the new key" in away.postponed[KRAKEN, ALICE]
    assert statuses(operator) == before
    assert operator.store.credentials(KRAKEN, [ALICE, BOB]) == {ALICE: alices, BOB: bobs}
    back = register_followers(operator.context, new)
    assert (back.updated, back.postponed) == (((KRAKEN, ALICE), (KRAKEN, BOB)), {})
    assert statuses(operator) == before
    assert operator.store.credentials(KRAKEN, [ALICE, BOB]) == {ALICE: alices_new, BOB: bobs_new}


@pytest.mark.parametrize("reason", ["its variables are gone", "its new key opens another account"])
@pytest.mark.parametrize("key", ["the old key", "another key of the account"])
def test_a_pause_outlasts_what_the_environment_disabled(
    operator: Operator, engine: Engine, reason: str, key: str
) -> None:
    """The follower is paused again, because only an operator ends a pause."""
    one, other = two_keys(operator, engine, "alice")
    register_followers(operator.context, named(alice=one))
    pause_follower(operator.context, ALICE, actor=ACTOR)
    stranger = operator.new_key("stranger")
    for _ in range(2):
        register_followers(operator.context, named() if reason == "its variables are gone" else named(alice=stranger))
        assert statuses(operator) == {ALICE: FollowerStatus.DISABLED}
    register_followers(operator.context, named(alice=one if key == "the old key" else other))
    assert statuses(operator) == {ALICE: FollowerStatus.PAUSED}


def test_an_active_follower_is_active_again_when_its_variables_are_back(operator: Operator) -> None:
    """Its key was not changed meanwhile."""
    alices = operator.new_key("alice")
    for given, status in ((named(alice=alices), "active"), (named(), "disabled"), (named(alice=alices), "active")):
        register_followers(operator.context, given)
        assert statuses(operator) == {ALICE: status}
