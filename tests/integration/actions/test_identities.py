"""An account is in nija once: a second key of it is refused, and a key of another account does not replace it.

The broker is a paper OKX, which reports the id of an account. A paper Kraken reports none.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from redis import Redis
from sqlalchemy import Engine

from shared.actions.check_keys import check_keys
from shared.actions.errors import KeyNotUsable
from shared.actions.followers import add_follower, replace_key
from shared.actions.import_followers import NewFollower, import_followers
from shared.actions.keys_at_start import check_keys_at_start, refuse_shared_accounts
from shared.actions.register_followers import register_followers
from shared.actions.resume_followers import resume_disabled_followers
from shared.domain.accounts.credentials import Credentials, EnvironmentFollower
from shared.domain.accounts.key_check import KeyVerdict
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.errors import FollowerTaken, ImportRefused
from shared.persistence.ledger.ledger import Ledger
from tests.contract.paper import PaperServer
from tests.support.ledger_examples import a_filled_event
from tests.support.operators.operator import ACTOR, KRAKEN, Operator

OKX = Broker.OKX
ALICE, BOB = FollowerId("alice"), FollowerId("bob")
RATE_LIMIT = "50011"
"""OKX's code for a request above its limit."""


@pytest.fixture(scope="module")
def okx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """A paper OKX."""
    server = PaperServer(OKX, tmp_path_factory.mktemp("okx"))
    yield server
    server.stop()


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def at_okx(okx: PaperServer, fresh_redis_url: str, engine: Engine) -> Operator:
    """An operator of a system whose only broker is the paper OKX."""
    return Operator(okx, fresh_redis_url, engine, OKX)


def named(**keys: Credentials) -> list[EnvironmentFollower]:
    """The followers of the environment."""
    return [
        EnvironmentFollower(broker=OKX, follower_id=FollowerId(name), credentials=key) for name, key in keys.items()
    ]


def two_keys(operator: Operator, name: str) -> tuple[Credentials, Credentials]:
    """Two keys of one new account."""
    return operator.paper.new_shared_account(operator.new_name(name), {"USDT": "1000"})


def test_a_second_key_of_a_followers_account_is_refused(at_okx: Operator) -> None:
    """The line names the follower that has the account. A row of an import is refused in the same way."""
    one, other = two_keys(at_okx, "alice")
    add_follower(at_okx.context, OKX, ALICE, one, actor=ACTOR)
    text = "the key of follower bob opens the account that follower alice has already at okx"
    with pytest.raises(FollowerTaken, match=text):
        add_follower(at_okx.context, OKX, BOB, other, actor=ACTOR)
    with pytest.raises(ImportRefused) as refused:
        import_followers(at_okx.context, [NewFollower(OKX, BOB, other, 1)], actor=ACTOR)
    assert refused.value.problems[1].startswith(text)
    assert [each.follower_id for each in at_okx.store.all()] == ["alice"]


def test_two_rows_of_an_import_with_one_account_are_refused(at_okx: Operator) -> None:
    """Nothing of the file is stored."""
    one, other = two_keys(at_okx, "alice")
    rows = [NewFollower(OKX, ALICE, one, 1), NewFollower(OKX, BOB, other, 2)]
    with pytest.raises(ImportRefused) as refused:
        import_followers(at_okx.context, rows, actor=ACTOR)
    assert list(refused.value.problems) == [2]
    assert "follower alice has already" in refused.value.problems[2]


def test_another_key_of_the_masters_account_is_refused(at_okx: Operator) -> None:
    """The master has another key of this account, and an account cannot copy itself."""
    master, other = two_keys(at_okx, "master")
    with pytest.raises(KeyNotUsable, match="bob opens the master's own account at okx; an account cannot copy itself"):
        add_follower(at_okx.with_masters({OKX: master}), OKX, BOB, other, actor=ACTOR)


def test_a_key_is_replaced_only_by_one_of_the_same_account(at_okx: Operator) -> None:
    """The line says what to do with the other account. Even `--same-account` does not help against the broker's word."""
    one, other = two_keys(at_okx, "alice")
    add_follower(at_okx.context, OKX, ALICE, one, actor=ACTOR)
    stranger = at_okx.new_key("stranger")
    for same_account in (False, True):
        with pytest.raises(KeyNotUsable, match=r"opens another account at okx.* a name of its own$"):
            replace_key(at_okx.context, ALICE, stranger, same_account=same_account, actor=ACTOR)
    assert at_okx.store.credentials(OKX, [ALICE]) == {ALICE: one}
    replace_key(at_okx.context, ALICE, other, actor=ACTOR)
    assert at_okx.store.credentials(OKX, [ALICE]) == {ALICE: other}


def test_a_check_stores_identities_and_finds_an_account_that_is_there_twice(at_okx: Operator) -> None:
    """Both followers were added without a check."""
    for name, key in zip((ALICE, BOB), two_keys(at_okx, "alice"), strict=True):
        add_follower(at_okx.context, OKX, name, key, check=False, actor=ACTOR)
    verdicts = {each.account: each for each in check_keys(at_okx.context, broker=OKX)}
    assert (verdicts["alice"].verdict, verdicts["bob"].verdict) == (KeyVerdict.FINE, KeyVerdict.SAME_ACCOUNT)
    assert "follower alice has already" in verdicts["bob"].message
    assert at_okx.store.get(OKX, ALICE).identity is not None
    assert at_okx.store.get(OKX, BOB).identity is None


def test_without_an_identity_a_key_is_the_same_account_if_it_can_read_an_order_of_the_old_one(
    operator: Operator, engine: Engine
) -> None:
    """A key that cannot read it is refused, unless the operator says that it is the same account. That is recorded."""
    one, other = operator.paper.new_shared_account(operator.new_name("alice"), {"USD": "1000"})
    add_follower(operator.context, KRAKEN, ALICE, one, actor=ACTOR)
    broker_order_id = operator.order_with(one)
    Ledger(engine).write([a_filled_event(broker_order_id=broker_order_id)])
    stranger = operator.new_key("stranger")
    with pytest.raises(KeyNotUsable, match=f"cannot read order {broker_order_id} of the old key.*--same-account$"):
        replace_key(operator.context, ALICE, stranger, actor=ACTOR)
    with pytest.raises(KeyNotUsable, match=r"was not checked.*--same-account$"):
        replace_key(operator.context, ALICE, other, check=False, actor=ACTOR)
    replace_key(operator.context, ALICE, other, actor=ACTOR)
    assert operator.store.credentials(KRAKEN, [ALICE]) == {ALICE: other}
    replace_key(operator.context, ALICE, stranger, same_account=True, actor=ACTOR)
    changes = [(each.change, each.after, each.actor) for each in operator.store.changes(KRAKEN, ALICE)]
    assert ("same account", "said by the operator", ACTOR) in changes


def test_a_start_refuses_the_duplicate_by_name_and_the_rest_start(at_okx: Operator) -> None:
    """Bob's key opens the account of alice, and carol's that of the master. Dave starts as usual."""
    (alices, bobs), (master, carols) = two_keys(at_okx, "alice"), two_keys(at_okx, "master")
    context = at_okx.with_masters({OKX: master})
    followers = named(alice=alices, bob=bobs, carol=carols, dave=at_okx.new_key("dave"))
    registration = at_okx.store.register_environment(followers)
    found = asyncio.run(check_keys_at_start(context, [OKX], followers, registration))
    assert found.usable == (OKX,)
    notes = "\n".join(found.notes)
    assert "the key of bob is not used, this follower is disabled" in notes
    assert "opens the account that follower alice has already" in notes
    assert "the key of follower carol opens the master's own account" in notes
    statuses = {each.follower_id: each.status.value for each in at_okx.store.all()}
    assert statuses == {"alice": "active", "bob": "disabled", "carol": "disabled", "dave": "active"}


def test_a_changed_key_of_the_environment_must_open_the_same_account(at_okx: Operator) -> None:
    """The follower keeps its old key and is disabled. With a key of its account it copies again.

    Other followers are not affected.
    """
    one, other = two_keys(at_okx, "alice")

    def given(alices: Credentials) -> list[EnvironmentFollower]:
        return [
            EnvironmentFollower(broker=OKX, follower_id=name, credentials=key)
            for name, key in ((ALICE, alices), (BOB, bobs))
        ]

    bobs = at_okx.new_key("bob")
    register_followers(at_okx.context, given(one))
    check_keys(at_okx.context, broker=OKX)
    done = register_followers(at_okx.context, given(at_okx.new_key("stranger")))
    assert "opens another account" in done.refused[OKX, ALICE]
    assert at_okx.store.credentials(OKX, [ALICE]) == {ALICE: one}
    statuses = {each.follower_id: each.status for each in at_okx.store.all()}
    assert statuses == {ALICE: FollowerStatus.DISABLED, BOB: FollowerStatus.ACTIVE}
    for key in (one, other):
        register_followers(at_okx.context, given(key))
        assert at_okx.store.credentials(OKX, [ALICE]) == {ALICE: key}
        assert at_okx.store.get(OKX, ALICE).status is FollowerStatus.ACTIVE


def test_a_changed_key_waits_while_the_broker_does_not_say_whose_it_is(at_okx: Operator) -> None:
    """Nothing was ever ordered with the old key, so no order of it can be asked for instead."""
    one, stranger = at_okx.new_key("alice"), at_okx.new_key("stranger")
    register_followers(at_okx.context, named(alice=one))
    check_keys(at_okx.context, broker=OKX)
    away = replace(at_okx.context, access=replace(at_okx.context.access, base_urls={OKX: "http://127.0.0.1:1"}))
    done = register_followers(away, named(alice=stranger))
    assert (done.updated, done.refused) == ((), {})
    assert "okx did not say which account the new key of follower alice opens" in done.postponed[OKX, ALICE]
    assert at_okx.store.credentials(OKX, [ALICE]) == {ALICE: one}
    assert at_okx.store.get(OKX, ALICE).status is FollowerStatus.ACTIVE
    with pytest.raises(KeyNotUsable, match=r"did not say which account.*--same-account$"):
        replace_key(away, ALICE, stranger, actor=ACTOR)


def test_a_check_waits_until_the_limit_of_the_address_allows_it(at_okx: Operator) -> None:
    """OKX allows an address 20 lists of markets in 2 s. Other programs at this address have used them up."""
    for name, key in zip((ALICE, BOB), two_keys(at_okx, "alice"), strict=True):
        add_follower(at_okx.context, OKX, name, key, check=False, actor=ACTOR)
    _use_up_the_limit(at_okx.paper.url)
    verdicts = [each.verdict for each in check_keys(at_okx.context, broker=OKX) if each.role != "master"]
    assert verdicts == [KeyVerdict.FINE, KeyVerdict.SAME_ACCOUNT]


def _use_up_the_limit(url: str) -> None:
    code = None
    while code is None:
        try:
            urlopen(f"{url}/api/v5/public/instruments?instType=SPOT", timeout=5).close()  # noqa: S310  # our own server
        except HTTPError as error:
            code = json.load(error)["code"]
    assert code == RATE_LIMIT


def test_a_registration_refuses_the_duplicates_by_name_and_announces_it(at_okx: Operator) -> None:
    """Bob's key opens the account of alice, and carol's that of the master. A second registration changes nothing."""
    (alices, bobs), (master, carols) = two_keys(at_okx, "alice"), two_keys(at_okx, "master")
    context = at_okx.with_masters({OKX: master})
    followers = named(alice=alices, bob=bobs, carol=carols, dave=at_okx.new_key("dave"))
    for refused_names in (["bob", "carol"], []):
        registration = register_followers(context, followers)
        with Redis.from_url(at_okx.redis_url) as redis:
            before = int(redis.get(BrokerKeys(OKX).roster) or 0)
            refused = refuse_shared_accounts(context, followers, registration)
            assert int(redis.get(BrokerKeys(OKX).roster) or 0) == before + bool(refused_names)
        assert sorted(name for _, name in refused) == refused_names
        for (_, name), why in refused.items():
            assert at_okx.store.get(OKX, name).status_reason == why
        statuses = {each.follower_id: each.status.value for each in at_okx.store.all()}
        assert statuses == {"alice": "active", "bob": "disabled", "carol": "disabled", "dave": "active"}


def test_resume_all_brings_back_no_second_key_of_an_account(at_okx: Operator) -> None:
    """Each account comes back once: bob has alice's account, erin has dave's, and carol has the master's."""
    (alices, bobs), (master, carols) = two_keys(at_okx, "alice"), two_keys(at_okx, "master")
    daves, erins = two_keys(at_okx, "dave")
    context = at_okx.with_masters({OKX: master})
    add_follower(context, OKX, ALICE, alices, actor=ACTOR)
    for name, key in {"bob": bobs, "carol": carols, "dave": daves, "erin": erins}.items():
        at_okx.store.add(OKX, FollowerId(name), key, actor=ACTOR)
        at_okx.store.set_status(OKX, FollowerId(name), FollowerStatus.DISABLED, actor="broker", reason="refused")
    found = resume_disabled_followers(context, OKX, actor=ACTOR)
    assert found.resumed == ((OKX, "dave"),)
    reasons = {name: why for (_, name), why in found.still_disabled.items()}
    assert "follower alice has already" in reasons[BOB]
    assert "the master's own account" in reasons[FollowerId("carol")]
    assert "follower dave has already" in reasons[FollowerId("erin")]
    statuses = {each.follower_id: each.status.value for each in at_okx.store.all()}
    assert statuses == {"alice": "active", "bob": "disabled", "carol": "disabled", "dave": "active", "erin": "disabled"}
