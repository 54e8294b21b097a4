"""The check of keys reports every key of masters and followers with a verdict, and changes nothing."""

from dataclasses import replace

import pytest

from shared.actions.check_keys import check_keys
from shared.actions.errors import KeyNotUsable, NothingToCheck
from shared.actions.followers import add_follower
from shared.domain.accounts.key_check import CheckedKey, KeyVerdict
from shared.domain.identity import Broker, FollowerId
from shared.persistence.errors import UnknownFollower
from tests.support.operators.operator import ACTOR, KRAKEN, READING, WITHDRAWING, Operator

ALICE = FollowerId("alice")


def verdicts(found: tuple[CheckedKey, ...]) -> dict[str, KeyVerdict]:
    """The verdict of each account."""
    return {each.account: each.verdict for each in found}


def test_every_key_gets_its_verdict(operator: Operator) -> None:
    """A setting allows one follower's key to withdraw, an option another one's, and nothing a third one's."""
    for name, permissions, allowed in (
        ("alice", (), False),
        ("bob", WITHDRAWING, True),
        ("carol", WITHDRAWING, False),
        ("dave", WITHDRAWING, False),
        ("erin", READING, False),
    ):
        key = operator.new_key(name, *permissions)
        operator.store.add(KRAKEN, FollowerId(name), key, withdraw_allowed=allowed, actor=ACTOR)
    before = operator.store.count_changes(KRAKEN)
    assert verdicts(check_keys(operator.allowing("carol"))) == {
        "master": KeyVerdict.FINE,
        "alice": KeyVerdict.FINE,
        "bob": KeyVerdict.ALLOWED,
        "carol": KeyVerdict.ALLOWED,
        "dave": KeyVerdict.MAY_WITHDRAW,
        "erin": KeyVerdict.MAY_NOT_TRADE,
    }
    assert (operator.store.count_changes(KRAKEN), operator.announcements()) == (before, 0)


def test_one_follower_is_checked_without_the_master(operator: Operator) -> None:
    """Only the key that was asked about, and an unknown or removed follower is an error."""
    operator.store.add(KRAKEN, ALICE, operator.new_key("alice"), actor=ACTOR)
    assert verdicts(check_keys(operator.context, follower_id=ALICE)) == {"alice": KeyVerdict.FINE}
    operator.store.remove(KRAKEN, ALICE, actor=ACTOR)
    for name in (ALICE, FollowerId("nobody")):
        with pytest.raises(UnknownFollower, match=f"no follower '{name}'"):
            check_keys(operator.context, follower_id=name)


def test_a_broker_that_does_not_answer_gives_no_verdict_about_its_keys(operator: Operator) -> None:
    """The master is reported as not checked, with the reason."""
    (found,) = check_keys(operator.without_broker())
    assert (found.verdict, found.message.startswith("kraken could not be asked: ")) == (KeyVerdict.NOT_CHECKED, True)


def test_two_bad_answers_do_not_decide_about_a_key(operator: Operator) -> None:
    """The third answer is correct: the key may only trade."""
    operator.paper.fault("http_error", endpoint="GetApiKeyInfo", count=2)
    result = add_follower(operator.context, KRAKEN, ALICE, operator.new_key("alice"), actor=ACTOR)
    assert result.notes == ()


def test_a_key_about_which_the_broker_reports_nothing_is_refused(operator: Operator) -> None:
    """The broker is asked three times and no more. The key then counts as one that may withdraw."""
    key = operator.new_key("alice")
    operator.paper.fault("http_error", endpoint="GetApiKeyInfo", count=3)
    with pytest.raises(KeyNotUsable, match=r"kraken did not say what the key may do.*\(asked 3 times\)"):
        add_follower(operator.context, KRAKEN, ALICE, key, actor=ACTOR)
    add_follower(operator.context, KRAKEN, ALICE, key, actor=ACTOR)
    operator.paper.fault("http_error", endpoint="GetApiKeyInfo", count=3)
    (found,) = check_keys(operator.context, follower_id=ALICE)
    assert (found.verdict, found.answered) == (KeyVerdict.MAY_WITHDRAW, False)


def test_a_master_without_a_key_here_is_listed(operator: Operator) -> None:
    """The text names the variable, which has its own form at Kraken."""
    operator.store.add(KRAKEN, ALICE, operator.new_key("alice"), actor=ACTOR)
    context = replace(operator.with_masters({}), enabled=(KRAKEN, Broker.OKX))
    found = check_keys(context)
    assert [(each.broker, each.role, each.verdict) for each in found] == [
        (KRAKEN, "master", KeyVerdict.NOT_SET),
        (Broker.OKX, "master", KeyVerdict.NOT_SET),
        (KRAKEN, "follower", KeyVerdict.FINE),
    ]
    assert [each.message for each in found[:2]] == [
        "not checked: KRAKEN_MASTER_API_KEY is not set here",
        "not checked: OKX_API_KEY is not set here",
    ]
    paper = replace(context, access=replace(context.access, all_paper=True))
    assert check_keys(paper)[0].message == "not checked: only the running nija knows the paper master's key"


def test_on_paper_a_key_may_withdraw(operator: Operator) -> None:
    """No real money can leave the account."""
    operator.store.add(KRAKEN, ALICE, operator.new_key("alice", *WITHDRAWING), actor=ACTOR)
    context = replace(operator.context, access=replace(operator.context.access, all_paper=True))
    assert verdicts(check_keys(context, follower_id=ALICE)) == {"alice": KeyVerdict.FINE}


def test_without_any_key_there_is_nothing_to_check(operator: Operator) -> None:
    """The error says how to get one."""
    with pytest.raises(NothingToCheck, match="set a master account's key, or add followers"):
        check_keys(operator.with_masters({}))
