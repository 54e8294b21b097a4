"""`nija followers resume --all` brings back every follower whose key is in order again, and no other one."""

import pytest

from shared.actions.followers import pause_follower, resume_follower
from shared.actions.resume_followers import resume_disabled_followers
from shared.domain.copying.follower import MASTERS_OWN_ACCOUNT, FollowerStatus
from shared.domain.identity import FollowerId
from shared.persistence.followers.environment import GONE
from tests.support.operators.operator import ACTOR, KRAKEN, READING, Operator


@pytest.fixture
def disabled(operator: Operator) -> Operator:
    """The followers are disabled, except `dave`, who is paused. Carol's key may not trade, and Erin's is taken away."""
    for name in ("alice", "bob", "carol", "dave", "erin"):
        permissions = READING if name == "carol" else ()
        operator.store.add(KRAKEN, FollowerId(name), operator.new_key(name, *permissions), actor=ACTOR)
        reason = GONE if name == "erin" else "EAPI:Invalid key"
        if name == "dave":
            pause_follower(operator.context, FollowerId(name), actor=ACTOR)
        else:
            operator.store.set_status(KRAKEN, FollowerId(name), FollowerStatus.DISABLED, actor="broker", reason=reason)
    return operator


def statuses(operator: Operator) -> dict[str, str]:
    return {each.follower_id: each.status.value for each in operator.store.all(KRAKEN)}


def test_all_disabled_followers_with_a_good_key_copy_again(disabled: Operator) -> None:
    """A paused follower stays paused. A key that may not trade keeps its follower disabled, with the reason."""
    before = disabled.announcements()
    found = resume_disabled_followers(disabled.context, KRAKEN, actor=ACTOR, reason="the address is back")
    assert found.resumed == ((KRAKEN, "alice"), (KRAKEN, "bob"))
    assert found.still_disabled[KRAKEN, FollowerId("carol")].startswith("the key may not trade")
    assert found.still_disabled[KRAKEN, FollowerId("erin")] == GONE
    assert statuses(disabled) == {
        "alice": "active",
        "bob": "active",
        "carol": "disabled",
        "dave": "paused",
        "erin": "disabled",
    }
    assert disabled.announcements() == before + 1
    change = disabled.store.changes(KRAKEN, FollowerId("alice"), 1)[0]
    assert (change.actor, change.reason) == (ACTOR, "the address is back")


def test_a_second_call_resumes_nobody_and_announces_nothing(disabled: Operator) -> None:
    """The two followers that cannot be resumed are reported again."""
    resume_disabled_followers(disabled.context, actor=ACTOR)
    before = disabled.announcements()
    found = resume_disabled_followers(disabled.context, actor=ACTOR)
    assert (found.resumed, len(found.still_disabled), disabled.announcements()) == ((), 2, before)


def test_a_follower_that_was_the_masters_own_account_comes_back_by_its_name_only(operator: Operator) -> None:
    """Its key is in order, and the broker reports no account. Without the audit, its copies would be copied again."""
    alice = FollowerId("alice")
    operator.store.add(KRAKEN, alice, operator.new_key("alice"), actor=ACTOR)
    operator.store.set_status(KRAKEN, alice, FollowerStatus.DISABLED, actor="broker", reason=MASTERS_OWN_ACCOUNT)
    found = resume_disabled_followers(operator.context, actor=ACTOR)
    assert (found.resumed, found.still_disabled) == ((), {(KRAKEN, alice): MASTERS_OWN_ACCOUNT})
    assert statuses(operator) == {"alice": "disabled"}
    resume_follower(operator.context, alice, actor=ACTOR)
    assert statuses(operator) == {"alice": "active"}
