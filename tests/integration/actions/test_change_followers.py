"""An action on one follower applies every rule, records actor and reason, and is announced to the stages."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from sqlalchemy import Engine

from shared.actions.context import ActionContext, RedisAddress
from shared.actions.errors import ActionRefused, KeyNotUsable, OrderUnsettled
from shared.actions.followers import add_follower, pause_follower, remove_follower, replace_key, resume_follower
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.copying.follower import FollowerStatus
from shared.domain.errors import InvalidFollowerId, NijaError
from shared.domain.identity import Broker, FollowerId
from shared.messaging.alerts import AlertKind, Alerts, current_alerts
from shared.messaging.connection.errors import RedisUnavailable
from shared.messaging.keys import BrokerKeys
from shared.persistence.errors import AmbiguousFollower, FollowerGone, FollowerTaken, UnknownFollower
from shared.persistence.ledger.ledger import Ledger
from tests.support.examples import an_order
from tests.support.ledger_examples import a_batch, a_decision, a_filled_event
from tests.support.operators.operator import ACTOR, KRAKEN, READING, WITHDRAWING, Operator

ALICE = FollowerId("alice")
BOB = FollowerId("bob")
ACTIVE, PAUSED, DISABLED = FollowerStatus.ACTIVE, FollowerStatus.PAUSED, FollowerStatus.DISABLED


@pytest.fixture
def alices_key(operator: Operator) -> Credentials:
    """The key of the follower alice, which was added with it."""
    key = operator.new_key("alice")
    add_follower(operator.context, KRAKEN, ALICE, key, actor=ACTOR, reason="a new customer")
    return key


def test_a_new_follower_is_active_recorded_and_announced(operator: Operator, alices_key: Credentials) -> None:
    """The audit has actor and reason, the key is stored, and the stages load the list again."""
    assert operator.store.get(KRAKEN, ALICE).status is ACTIVE
    assert operator.store.credentials(KRAKEN, [ALICE]) == {ALICE: alices_key}
    (change,) = operator.store.changes(KRAKEN, ALICE)
    assert (change.change, change.actor, change.reason) == ("joined", ACTOR, "a new customer")
    assert operator.announcements() == 1


def test_the_masters_own_key_is_refused(operator: Operator, alices_key: Credentials) -> None:
    """An account cannot copy itself, as a new follower or with another key."""
    for change in (
        lambda: add_follower(operator.context, KRAKEN, BOB, operator.master, actor=ACTOR),
        lambda: replace_key(operator.context, ALICE, operator.master, actor=ACTOR),
    ):
        with pytest.raises(KeyNotUsable, match="the master's own key at kraken; an account cannot copy itself"):
            change()
    assert [record.follower_id for record in operator.store.all()] == [ALICE]
    assert operator.store.credentials(KRAKEN, [ALICE]) == {ALICE: alices_key}


@pytest.mark.parametrize("text", ["Alice Smith", "", "a" * 65, "alice\n", "al\0ice", "al\ud800ice"])
def test_an_id_that_is_not_valid_is_refused(operator: Operator, text: str) -> None:
    """A stored id of a wrong form would end the engine's loop of its broker: the list of followers could not be read."""
    with pytest.raises(InvalidFollowerId, match="is not valid: use 1 to 64 lowercase letters"):
        add_follower(operator.context, KRAKEN, FollowerId(text), operator.new_key("bob"), actor=ACTOR)
    assert (operator.store.roster(KRAKEN), operator.announcements()) == ([], 0)


def test_a_taken_id_is_refused_before_the_broker_is_asked(operator: Operator, alices_key: Credentials) -> None:
    """The id counts also after a removal, because the history stays under it."""
    key = operator.new_key("other")
    with pytest.raises(FollowerTaken, match="follower id alice at kraken is taken"):
        add_follower(operator.without_broker(), KRAKEN, ALICE, key, actor=ACTOR)
    remove_follower(operator.context, ALICE, actor=ACTOR)
    with pytest.raises(FollowerTaken, match="it was removed"):
        add_follower(operator.context, KRAKEN, ALICE, key, actor=ACTOR)


def test_a_key_in_use_is_refused(operator: Operator, alices_key: Credentials) -> None:
    """Two followers never trade on one account."""
    with pytest.raises(FollowerTaken, match="in use already at kraken by follower alice"):
        add_follower(operator.context, KRAKEN, BOB, alices_key, actor=ACTOR)


def test_a_key_that_may_withdraw_needs_an_option_or_a_setting(operator: Operator) -> None:
    """Each of the two is enough, and nothing is stored without them."""
    key = operator.new_key("bob", *WITHDRAWING)
    with pytest.raises(KeyNotUsable, match="may withdraw"):
        add_follower(operator.context, KRAKEN, BOB, key, actor=ACTOR)
    with pytest.raises(KeyNotUsable, match="may withdraw"):
        add_follower(operator.allowing("alice"), KRAKEN, BOB, key, actor=ACTOR)
    assert (operator.store.all(), operator.announcements()) == ([], 0)
    by_setting = add_follower(operator.allowing("bob"), KRAKEN, BOB, key, actor=ACTOR)
    assert not by_setting.follower.withdraw_allowed
    other = operator.new_key("alice", *WITHDRAWING)
    by_option = add_follower(operator.context, KRAKEN, ALICE, other, allow_withdraw=True, actor=ACTOR)
    assert by_option.follower.withdraw_allowed


def test_a_key_that_may_not_trade_is_refused(operator: Operator) -> None:
    """The follower could copy nothing."""
    with pytest.raises(KeyNotUsable, match="may not trade"):
        add_follower(operator.context, KRAKEN, BOB, operator.new_key("bob", *READING), actor=ACTOR)


def test_a_key_that_could_not_be_checked_is_stored_with_a_note(operator: Operator) -> None:
    """The broker does not answer, so the operator is informed and the follower joins."""
    result = add_follower(operator.without_broker(), KRAKEN, BOB, operator.new_key("bob"), actor=ACTOR)
    (note,) = result.notes
    assert note.startswith("the key of bob was not checked (kraken could not be asked: ")
    assert result.follower.status is ACTIVE


def test_without_a_check_only_the_form_of_the_key_is_noted(operator: Operator) -> None:
    """The broker is not asked: a key that may not trade is stored."""
    key = operator.new_key("bob", *READING)
    cut = key.model_copy(update={"api_key": SecretStr(key.api_key.get_secret_value()[:-3])})
    result = add_follower(operator.context, KRAKEN, BOB, cut, check=False, actor=ACTOR)
    assert result.notes == ("the API key of kraken usually has 56 characters (this one has 53 characters)",)
    assert add_follower(operator.context, KRAKEN, ALICE, key, check=False, actor=ACTOR).notes == ()


def test_a_pause_that_changes_nothing_says_so_and_is_announced_again(
    operator: Operator, alices_key: Credentials
) -> None:
    """The announcement of the first try may have been lost."""
    first = pause_follower(operator.context, ALICE, actor=ACTOR, reason="holiday")
    second = pause_follower(operator.context, ALICE, actor=ACTOR)
    assert (first.changed, second.changed) == (True, False)
    assert (second.follower.status, second.follower.status_reason) == (PAUSED, "holiday")
    assert operator.announcements() == 3
    assert resume_follower(operator.context, ALICE, actor=ACTOR).follower.status is ACTIVE


def test_the_key_of_a_disabled_follower_is_checked_before_it_resumes(operator: Operator) -> None:
    """A paused follower resumes without a check. A disabled one stays disabled while its key is not usable."""
    key = operator.new_key("bob", *READING)
    add_follower(operator.context, KRAKEN, BOB, key, check=False, actor=ACTOR)
    pause_follower(operator.context, BOB, actor=ACTOR)
    assert resume_follower(operator.context, BOB, actor=ACTOR).changed
    operator.store.set_status(KRAKEN, BOB, DISABLED, actor="broker", reason="refused")
    with pytest.raises(KeyNotUsable, match="may not trade"):
        resume_follower(operator.context, BOB, actor=ACTOR)
    assert operator.store.get(KRAKEN, BOB).status is DISABLED
    assert resume_follower(operator.context, BOB, check=False, actor=ACTOR).follower.status is ACTIVE


def test_a_pause_is_no_way_around_the_check_of_a_disabled_followers_key(
    operator: Operator, alices_key: Credentials
) -> None:
    """Otherwise a resumption after the pause would bring back a key that the broker refuses."""
    operator.store.set_status(KRAKEN, ALICE, DISABLED, actor="broker", reason="refused")
    with pytest.raises(ActionRefused, match="alice at kraken is disabled and copies nothing.* replace-key") as caught:
        pause_follower(operator.context, ALICE, actor=ACTOR)
    assert "\n" not in str(caught.value)
    record = operator.store.get(KRAKEN, ALICE)
    assert (record.status, record.status_reason) == (DISABLED, "refused")


def test_a_follower_that_is_disabled_while_it_is_resumed_stays_disabled(
    operator: Operator, alices_key: Credentials
) -> None:
    """The broker refuses the key after the status was read. The key was not checked, so it must not be used."""
    pause_follower(operator.context, ALICE, actor=ACTOR)

    def disabled_meanwhile(_: Broker) -> RedisAddress:
        operator.store.set_status(KRAKEN, ALICE, DISABLED, actor="broker", reason="refused")
        return RedisAddress("REDIS_URL", operator.redis_url)

    access = replace(operator.context.access, redis_of=disabled_meanwhile)
    with pytest.raises(ActionRefused, match="its key was not checked: resume it again"):
        resume_follower(replace(operator.context, access=access), ALICE, actor=ACTOR)
    assert operator.store.get(KRAKEN, ALICE).status is DISABLED
    assert resume_follower(operator.context, ALICE, actor=ACTOR).follower.status is ACTIVE


def test_another_key_makes_a_disabled_follower_active_and_keeps_the_permission_to_withdraw(operator: Operator) -> None:
    """The operator allowed this follower's key to withdraw, so its next key may too."""
    key, next_key = (operator.new_key("bob", *WITHDRAWING) for _ in range(2))
    add_follower(operator.context, KRAKEN, BOB, key, allow_withdraw=True, actor=ACTOR)
    operator.store.set_status(KRAKEN, BOB, DISABLED, actor="broker", reason="refused")
    result = replace_key(operator.context, BOB, next_key, actor=ACTOR)
    assert (result.changed, result.follower.status, result.follower.withdraw_allowed) == (True, ACTIVE, True)
    assert operator.store.credentials(KRAKEN, [BOB]) == {BOB: next_key}


def test_the_stored_key_again_changes_nothing(operator: Operator, alices_key: Credentials) -> None:
    """The result says that it is the same key, the audit has no new line, and the broker is not asked."""
    before = operator.store.changes(KRAKEN, ALICE)
    result = replace_key(operator.without_broker(), ALICE, alices_key, actor=ACTOR)
    assert (result.changed, result.notes) == (False, ())
    assert operator.store.changes(KRAKEN, ALICE) == before


def test_a_removal_wipes_the_key_and_returns_what_stays_open(
    operator: Operator, alices_key: Credentials, engine: Engine
) -> None:
    """Copied positions stay at the broker, so the operator must see them."""
    Ledger(engine).write([a_batch(a_decision("alice")), a_filled_event("alice", position_after="0.4")])
    result = remove_follower(operator.context, ALICE, actor=ACTOR, reason="contract ended")
    assert result.follower.status is FollowerStatus.REMOVED
    assert [(line.asset, str(line.quantity)) for line in result.stays_open] == [("BTC", "0.4")]
    assert operator.store.credentials(KRAKEN, [ALICE]) == {}
    for change in (pause_follower, remove_follower):
        with pytest.raises(FollowerGone):
            change(operator.context, ALICE, actor=ACTOR)


@pytest.mark.parametrize("replayed", [False, True], ids=["sent", "perhaps sent before a restart"])
def test_a_removal_is_refused_while_an_order_has_no_known_outcome(
    operator: Operator, alices_key: Credentials, replayed: bool
) -> None:
    """Only the key of the follower can look the order up. The line says what to do, and nothing is changed."""
    keys = BrokerKeys(KRAKEN)
    with Redis.from_url(operator.redis_url) as redis:
        redis.rpush(
            keys.mailbox("alice"), an_order("alice").model_copy(update={"replayed": replayed}).model_dump_json()
        )
        if not replayed:
            redis.hset(keys.submitting, "alice", "a submission")
    with pytest.raises(OrderUnsettled, match=r"^an order of alice at kraken has no known outcome.* reconcile --repair"):
        remove_follower(operator.context, ALICE, actor=ACTOR)
    assert operator.store.credentials(KRAKEN, [ALICE]) == {ALICE: alices_key}
    forced = remove_follower(operator.context, ALICE, with_unsettled_order=True, actor=ACTOR)
    assert forced.follower.status is FollowerStatus.REMOVED
    with pytest.raises(FollowerGone):
        remove_follower(operator.context, ALICE, actor=ACTOR)


def test_a_removal_does_not_wait_for_an_order_that_was_not_sent(operator: Operator, alices_key: Credentials) -> None:
    """It is skipped by the next worker, as for example an exit in a delisted symbol."""
    with Redis.from_url(operator.redis_url) as redis:
        redis.rpush(BrokerKeys(KRAKEN).mailbox("alice"), an_order("alice").model_dump_json())
    assert remove_follower(operator.context, ALICE, actor=ACTOR).follower.status is FollowerStatus.REMOVED


async def test_a_removal_ends_the_alerts_of_the_follower(operator: Operator, alices_key: Credentials) -> None:
    """No process would clear them any more. The alerts of other followers stay."""
    async with AsyncRedis.from_url(operator.redis_url) as redis:
        alerts = Alerts(redis, BrokerKeys(KRAKEN))
        for follower in ("alice", "bob"):
            await alerts.sound(AlertKind.DRIFT, follower, "sold", until=datetime.now(UTC) + timedelta(hours=1))
        await asyncio.to_thread(remove_follower, operator.context, ALICE, actor=ACTOR)
        found = current_alerts(await redis.hvals(BrokerKeys(KRAKEN).alerts), datetime.now(UTC))
    assert [alert.follower_id for alert in found] == ["bob"]


CHANGES: dict[str, Callable[[ActionContext, Credentials], object]] = {
    "add": lambda context, key: add_follower(context, KRAKEN, BOB, key, actor=ACTOR),
    "pause": lambda context, _: pause_follower(context, ALICE, actor=ACTOR),
    "resume": lambda context, _: resume_follower(context, ALICE, actor=ACTOR),
    "replace_key": lambda context, key: replace_key(context, ALICE, key, actor=ACTOR),
    "remove": lambda context, _: remove_follower(context, ALICE, actor=ACTOR),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_the_stages_could_not_hear_of_is_not_made(
    operator: Operator, alices_key: Credentials, name: str
) -> None:
    """Redis is away: the error says that nothing was changed, and the database agrees."""
    before = operator.store.count_changes(KRAKEN)
    with pytest.raises(RedisUnavailable, match="nothing was changed"):
        CHANGES[name](operator.without_redis(), operator.new_key("next"))
    assert operator.store.count_changes(KRAKEN) == before


def test_an_id_at_two_brokers_needs_the_broker(operator: Operator, alices_key: Credentials) -> None:
    """Nothing is guessed, and the error names both."""
    other = Credentials(api_key=SecretStr("another-key"), api_secret=SecretStr("another-secret"))
    operator.store.add(Broker.BINANCE, ALICE, other, actor=ACTOR)
    with pytest.raises(AmbiguousFollower, match="'alice' is a follower at binance, kraken"):
        pause_follower(operator.context, ALICE, actor=ACTOR)
    assert pause_follower(operator.context, ALICE, KRAKEN, actor=ACTOR).follower.broker is KRAKEN
    assert operator.store.get(Broker.BINANCE, ALICE).status is ACTIVE


@pytest.mark.parametrize("broker", [None, KRAKEN])
def test_an_unknown_follower_is_an_error(operator: Operator, broker: Broker | None) -> None:
    """With and without a broker."""
    for change in (pause_follower, resume_follower, remove_follower):
        with pytest.raises(UnknownFollower, match="no follower 'nobody'"):
            change(operator.context, FollowerId("nobody"), broker, actor=ACTOR)


async def test_an_event_loop_runs_actions_in_threads(operator: Operator) -> None:
    """An HTTP API can add followers at the same time, each with the check of its key."""
    names = [FollowerId(f"follower-{number}") for number in range(4)]
    keys = [operator.new_key(name) for name in names]
    results = await asyncio.gather(
        *(
            asyncio.to_thread(add_follower, operator.context, KRAKEN, name, key, actor=ACTOR)
            for name, key in zip(names, keys, strict=True)
        )
    )
    assert [result.follower.follower_id for result in results] == names
    assert {record.status for record in operator.store.all(KRAKEN)} == {ACTIVE}


def test_no_result_and_no_context_shows_a_secret(operator: Operator, alices_key: Credentials) -> None:
    """A front end may log or return them: the hash of a key, and passwords in URLs, are not in their texts."""
    result = pause_follower(operator.context, ALICE, actor=ACTOR)
    access = replace(
        operator.context.access,
        redis_of=lambda _: RedisAddress("REDIS_URL", "redis://:word-1@127.0.0.1/0"),
        proxies={KRAKEN: "http://ann:word-2@127.0.0.1:8080"},
    )
    texts = [repr(each) for each in (result, replace(operator.context, access=access), access.redis_of(KRAKEN))]
    secrets = [key_hash(alices_key.api_key), alices_key.api_key.get_secret_value(), "word-1", "word-2"]
    assert [secret for secret in secrets if any(secret in text for text in texts)] == []


def test_every_error_of_an_action_is_fit_to_show(operator: Operator, alices_key: Credentials) -> None:
    """No error repeats a key or a secret."""
    secrets = [part.get_secret_value() for part in (alices_key.api_key, alices_key.api_secret)]
    with pytest.raises(NijaError) as caught:
        add_follower(operator.context, KRAKEN, BOB, alices_key, actor=ACTOR)
    assert not any(secret in str(caught.value) for secret in secrets)
