"""Every action refuses an actor or a reason that cannot be recorded, before it changes anything."""

from collections.abc import Callable

import pytest

from shared.actions.context import ActionContext
from shared.actions.errors import ActionRefused
from shared.actions.followers import add_follower, pause_follower, remove_follower, replace_key, resume_follower
from shared.actions.import_followers import NewFollower, import_followers
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import FollowerId
from tests.support.operators.operator import ACTOR, KRAKEN, Operator

ALICE = FollowerId("alice")
BOB = FollowerId("bob")

ACTIONS: dict[str, Callable[[ActionContext, Credentials, str, str], object]] = {
    "add": lambda context, key, actor, reason: add_follower(context, KRAKEN, BOB, key, actor=actor, reason=reason),
    "pause": lambda context, _, actor, reason: pause_follower(context, ALICE, actor=actor, reason=reason),
    "resume": lambda context, _, actor, reason: resume_follower(context, ALICE, actor=actor, reason=reason),
    "replace_key": lambda context, key, actor, reason: replace_key(context, ALICE, key, actor=actor, reason=reason),
    "remove": lambda context, _, actor, reason: remove_follower(context, ALICE, actor=actor, reason=reason),
    "import": lambda context, key, actor, reason: import_followers(
        context, [NewFollower(KRAKEN, BOB, key, 1)], actor=actor, reason=reason
    ),
}

REFUSED = {
    "an actor is needed": ("", "moved", "the actor is missing"),
    "blanks are no actor": (" ", "moved", "the actor is missing"),
    "NUL in the actor": ("test:\0ann", "moved", "the actor has a character that cannot be stored"),
    "NUL in the reason": (ACTOR, "moved\0", "the reason has a character that cannot be stored"),
    "half a character": (ACTOR, "moved \ud83d", "the reason has a character that cannot be stored"),
    "a long reason": (ACTOR, "m" * 501, "the reason has 501 characters: give at most 500"),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_texts_that_cannot_be_recorded_are_refused_before_anything_happens(operator: Operator, name: str) -> None:
    """PostgreSQL stores neither NUL nor half a character, and a change without an actor could not be explained."""
    operator.store.add(KRAKEN, ALICE, operator.new_key("alice"), actor=ACTOR)
    before, key = operator.store.count_changes(KRAKEN), operator.new_key("next")
    for actor, reason, message in REFUSED.values():
        with pytest.raises(ActionRefused, match=message):
            ACTIONS[name](operator.context, key, actor, reason)
    assert (operator.store.count_changes(KRAKEN), operator.announcements()) == (before, 0)


def test_a_reason_of_500_characters_of_any_language_is_recorded(operator: Operator) -> None:
    """The limit counts characters, and characters outside the basic plane are whole ones."""
    reason = "🙂é\n" + "m" * 497
    operator.store.add(KRAKEN, ALICE, operator.new_key("alice"), actor=ACTOR)
    pause_follower(operator.context, ALICE, actor=ACTOR, reason=reason)
    assert operator.store.changes(KRAKEN, ALICE)[0].reason == reason
