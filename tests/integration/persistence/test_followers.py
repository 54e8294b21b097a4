"""In PostgreSQL, ids and keys of followers are unique, changes are audited, and imports are complete or refused."""

from collections.abc import Sequence
from decimal import Decimal
from threading import Event, Thread

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Engine, event, text

from shared.domain.accounts.credentials import Credentials, EnvironmentFollower
from shared.domain.copying.follower import FollowerPolicy, FollowerStatus
from shared.domain.identity import Broker, MasterAccount
from shared.persistence import sequence
from shared.persistence.errors import (
    BadSecretKey,
    DatabaseUnavailable,
    FollowerError,
    FollowerGone,
    FollowerTaken,
    ImportRefused,
    UnknownFollower,
)
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.persistence.strategy.keys import MasterKeys
from tests.support.examples import NOW, an_account_fill

KRAKEN = Broker.KRAKEN


def key(name: str) -> Credentials:
    return Credentials(api_key=SecretStr(name), api_secret=SecretStr("c2VjcmV0"))


def in_environment(*pairs: tuple[str, str]) -> Sequence[EnvironmentFollower]:
    return [EnvironmentFollower(broker=KRAKEN, follower_id=name, credentials=key(k)) for name, k in pairs]


def statuses(store: FollowerStore) -> dict[str, FollowerStatus]:
    return {record.follower_id: record.status for record in store.all(removed=True)}


def test_a_policy_of_a_newer_version_takes_nobody_along(store: FollowerStore, engine: Engine) -> None:
    """The follower is listed with the reason, and its status can be changed. The other followers are not affected."""
    for name in ("alice", "bob"):
        store.add(KRAKEN, name, key(f"key of {name}"), actor="test")
    with engine.begin() as connection:
        newer = (
            """UPDATE followers SET policy = '{"minimum_notional": "5", "maximum": "9"}' WHERE follower_id = 'alice'"""
        )
        connection.execute(text(newer))
    alice, bob = store.roster(KRAKEN)
    assert alice.policy_error == "its policy cannot be read: maximum: Extra inputs are not permitted"
    assert bob.policy_error is None
    assert {each.follower_id: each.policy for each in store.all()} == {"alice": None, "bob": FollowerPolicy()}
    assert store.set_status(KRAKEN, "alice", FollowerStatus.PAUSED, actor="test")
    assert store.roster(KRAKEN)[0].status is FollowerStatus.PAUSED


def test_a_new_follower_copies_from_the_next_fill_on(store: FollowerStore, fills: MasterFills) -> None:
    """The joined sequence of a follower is the newest recorded fill of its broker."""
    fills.record(KRAKEN, "main", [ObservedFill(an_account_fill(fill_id=n), Decimal(1)) for n in "ab"], NOW)
    reported: list[Broker] = []
    store.add(KRAKEN, "alice", key("k1"), actor="test", announce=reported.append)
    [follower] = store.roster(KRAKEN)
    assert (follower.follower_id, follower.joined_sequence, follower.status) == ("alice", 2, FollowerStatus.ACTIVE)
    assert store.credentials(KRAKEN, ["alice", "nobody"]) == {"alice": key("k1")}
    assert reported == [KRAKEN]
    assert store.roster(Broker.OKX) == []


def test_no_fill_is_recorded_between_joining_and_telling_the_engines(store: FollowerStore, fills: MasterFills) -> None:
    """A fill that is recorded during a join gets its number after the announcement to the engines."""
    recorded = Event()

    def record() -> None:
        fills.record(KRAKEN, "main", [ObservedFill(an_account_fill(), Decimal(1))], NOW)
        recorded.set()

    recording = Thread(target=record)
    seen: list[bool] = []

    def announce(_broker: Broker) -> None:
        recording.start()
        # The recording has time to run now, but must wait for the lock that the join holds.
        seen.append(recorded.wait(0.3))

    store.add(KRAKEN, "alice", key("k1"), actor="test", announce=announce)
    recording.join(10)
    assert seen == [False]
    assert recorded.is_set()
    assert store.roster(KRAKEN)[0].joined_sequence == 0


def test_whoever_hears_of_a_join_sees_the_follower(store: FollowerStore) -> None:
    """A roster that is read because of the announcement waits for the commit and contains the new follower."""
    lists: list[list[str]] = []
    read = Event()

    def load() -> None:
        lists.append([follower.follower_id for follower in store.roster(KRAKEN)])
        read.set()

    loading = Thread(target=load)
    seen: list[bool] = []

    def announce(_broker: Broker) -> None:
        loading.start()
        seen.append(read.wait(0.3))

    store.add(KRAKEN, "alice", key("k1"), actor="test", announce=announce)
    loading.join(10)
    assert seen == [False]
    assert lists == [["alice"]]


def test_a_join_that_cannot_be_announced_does_not_happen(store: FollowerStore) -> None:
    """If Redis fails during the announcement, nothing is stored, and the id and the key stay free."""

    def announce(_broker: Broker) -> None:
        raise ConnectionError("redis is away")

    with pytest.raises(ConnectionError):
        store.add(KRAKEN, "alice", key("k1"), actor="test", announce=announce)
    assert not store.all(removed=True)
    store.add(KRAKEN, "alice", key("k1"), actor="test")


def test_a_join_that_stands_still_holds_up_nobody_for_long(
    store: FollowerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of the roster gives up after some seconds, so that it can be stopped, and reads again."""
    monkeypatch.setattr(sequence, "LONGEST_WAIT_SECONDS", 0.1)

    def announce(_broker: Broker) -> None:
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            store.roster(KRAKEN)
        assert store.roster(Broker.OKX) == []

    store.add(KRAKEN, "alice", key("k1"), actor="test", announce=announce)
    assert len(store.roster(KRAKEN)) == 1


def test_keys_that_were_replaced_are_announced_when_they_are_stored(store: FollowerStore) -> None:
    """A worker may read the key before the commit. A second announcement after the commit makes it read again."""
    store.register_environment(in_environment(("alice", "k1")))
    keys: list[Credentials] = []

    def announce(broker: Broker) -> None:
        keys.append(store.credentials(broker, ["alice"])["alice"])

    store.register_environment(in_environment(("alice", "k2")), announce=announce)
    assert keys[-1] == key("k2")


def test_taken_ids_and_keys_are_refused(store: FollowerStore) -> None:
    """An id or an API key belongs to one follower of a broker. At another broker both are free."""
    store.add(KRAKEN, "alice", key("k1"), actor="test")
    with pytest.raises(FollowerTaken, match=r"alice.*taken"):
        store.add(KRAKEN, "alice", key("k2"), actor="test")
    with pytest.raises(FollowerTaken, match="in use already at kraken by follower alice"):
        store.add(KRAKEN, "bob", key("k1"), actor="test")
    store.add(Broker.BINANCE, "alice", key("k1"), actor="test")
    assert len(store.all()) == 2


def test_an_import_with_one_taken_row_imports_nothing(store: FollowerStore) -> None:
    """The error contains each taken row, and the other rows are not imported either."""
    store.add(KRAKEN, "alice", key("k1"), actor="test")
    rows = [
        NewFollower(KRAKEN, "bob", key("k2"), 1),
        NewFollower(KRAKEN, "alice", key("k3"), 2),
        NewFollower(KRAKEN, "carol", key("k1"), 3),
    ]
    with pytest.raises(ImportRefused) as raised:
        store.import_rows(rows, actor="test")
    assert set(raised.value.problems) == {2, 3}
    assert [record.follower_id for record in store.all()] == ["alice"]
    store.import_rows(rows[:1], actor="test")
    assert store.credentials(KRAKEN, ["bob"]) == {"bob": key("k2")}


def test_removing_wipes_the_keys_and_keeps_the_id_taken(store: FollowerStore, engine: Engine) -> None:
    """No row contains the key any more. The id stays taken, and another follower may use the key."""
    store.add(KRAKEN, "alice", key("k1"), actor="test")
    store.remove(KRAKEN, "alice", actor="test", reason="left")
    assert store.roster(KRAKEN) == []
    assert store.credentials(KRAKEN, ["alice"]) == {}
    with engine.connect() as connection:
        row = connection.execute(text("SELECT sealed_credentials, key_hash, status FROM followers")).one()
    assert tuple(row) == (None, None, "removed")
    with pytest.raises(FollowerTaken, match="removed"):
        store.add(KRAKEN, "alice", key("k9"), actor="test")
    with pytest.raises(FollowerGone):
        store.remove(KRAKEN, "alice", actor="test")
    with pytest.raises(FollowerGone):
        store.set_status(KRAKEN, "alice", FollowerStatus.ACTIVE, actor="test")
    store.add(KRAKEN, "alice2", key("k1"), actor="test")


def test_every_change_counts_and_is_announced_again_when_it_is_repeated(store: FollowerStore) -> None:
    """A repeated change is announced again, because the first announcement may have been lost."""
    reported: list[Broker] = []
    counts = [store.count_changes(KRAKEN)]
    store.add(KRAKEN, "alice", key("a"), actor="test")
    counts.append(store.count_changes(KRAKEN))
    for _ in range(2):
        store.set_status(KRAKEN, "alice", FollowerStatus.PAUSED, actor="test", announce=reported.append)
        counts.append(store.count_changes(KRAKEN))
    store.replace_credentials(KRAKEN, "alice", key("b"), actor="test")
    counts.append(store.count_changes(KRAKEN))
    store.remove(KRAKEN, "alice", actor="test")
    counts.append(store.count_changes(KRAKEN))
    assert counts == [0, 1, 2, 2, 3, 4]
    assert reported == [KRAKEN, KRAKEN]
    assert store.count_changes(Broker.OKX) == 0


def test_each_change_is_audited_once_with_who_and_why(store: FollowerStore) -> None:
    """A pause that changes nothing is not recorded. Each record has the values before and after."""
    store.add(KRAKEN, "alice", key("k1"), actor="ann")
    assert store.set_status(KRAKEN, "alice", FollowerStatus.PAUSED, actor="ben", reason="holiday")
    assert not store.set_status(KRAKEN, "alice", FollowerStatus.PAUSED, actor="ben")
    lines = [(c.change, c.before, c.after, c.actor, c.reason) for c in store.changes(KRAKEN, "alice")]
    assert lines == [("status", "active", "paused", "ben", "holiday"), ("joined", None, "database", "ann", "")]
    record = store.get(KRAKEN, "alice")
    assert (record.status, record.status_reason, record.revision) == (FollowerStatus.PAUSED, "holiday", 2)


def test_an_unknown_follower_is_an_error(store: FollowerStore) -> None:
    """To read, pause or remove an unknown follower raises an error with its id."""
    for ask in (
        lambda: store.get(KRAKEN, "nobody"),
        lambda: store.set_status(KRAKEN, "nobody", FollowerStatus.PAUSED, actor="test"),
        lambda: store.remove(KRAKEN, "nobody", actor="test"),
    ):
        with pytest.raises(UnknownFollower, match="nobody"):
            ask()


def test_another_key_makes_a_disabled_follower_active(store: FollowerStore) -> None:
    """The broker refused the old key. With a new one the follower copies again."""
    store.add(KRAKEN, "alice", key("k1"), actor="test")
    store.add(KRAKEN, "bob", key("k2"), actor="test")
    store.set_status(KRAKEN, "alice", FollowerStatus.DISABLED, actor="broker")
    with pytest.raises(FollowerTaken):
        store.replace_credentials(KRAKEN, "alice", key("k2"), actor="test")
    store.replace_credentials(KRAKEN, "alice", key("k3"), actor="test")
    assert store.credentials(KRAKEN, ["alice"]) == {"alice": key("k3")}
    assert statuses(store)["alice"] is FollowerStatus.ACTIVE


def test_the_environment_is_followed_through_its_changes(store: FollowerStore) -> None:
    """New followers join, changed keys replace old ones, and missing followers are disabled until they return.

    Removed followers stay removed.
    """
    assert len(store.register_environment(in_environment(("alice", "k1"), ("bob", "k2"))).added) == 2
    again = store.register_environment(in_environment(("alice", "k1"), ("bob", "k2")))
    assert (again.added, again.updated, again.disabled) == ((), (), ())
    changed = store.register_environment(in_environment(("alice", "k1-new")))
    assert (changed.updated, changed.disabled) == (((KRAKEN, "alice"),), ((KRAKEN, "bob"),))
    assert store.credentials(KRAKEN, ["alice"]) == {"alice": key("k1-new")}
    assert statuses(store) == {"alice": FollowerStatus.ACTIVE, "bob": FollowerStatus.DISABLED}
    store.remove(KRAKEN, "alice", actor="test")
    back = store.register_environment(in_environment(("alice", "k1-new"), ("bob", "k2")))
    assert (back.updated, back.removed_before) == (((KRAKEN, "bob"),), ((KRAKEN, "alice"),))
    assert statuses(store) == {"alice": FollowerStatus.REMOVED, "bob": FollowerStatus.ACTIVE}


def test_a_pause_outlives_a_restart_with_the_same_environment(store: FollowerStore) -> None:
    """A start does not resume a follower that the operator paused."""
    store.register_environment(in_environment(("alice", "k1")))
    store.set_status(KRAKEN, "alice", FollowerStatus.PAUSED, actor="test")
    store.register_environment(in_environment(("alice", "k1")))
    assert statuses(store) == {"alice": FollowerStatus.PAUSED}


def test_an_environment_that_collides_with_the_database_changes_nothing(store: FollowerStore) -> None:
    """A taken id or key is an error and never a silent merge. The other names are not registered either."""
    store.add(KRAKEN, "alice", key("k1"), actor="test")
    with pytest.raises(FollowerTaken, match="alice"):
        store.register_environment(in_environment(("bob", "k2"), ("alice", "k3")))
    with pytest.raises(FollowerTaken, match="in use already"):
        store.register_environment(in_environment(("bob", "k1")))
    with pytest.raises(FollowerTaken, match="in use already"):
        store.register_environment(in_environment(("bob", "k2"), ("carol", "k2")))
    assert list(statuses(store)) == ["alice"]
    assert store.credentials(KRAKEN, ["alice"]) == {"alice": key("k1")}


def test_keys_of_the_environment_are_changed_there(store: FollowerStore) -> None:
    """The next start would undo a change in the database, so the change is refused."""
    store.register_environment(in_environment(("alice", "k1")))
    with pytest.raises(FollowerError, match="environment"):
        store.replace_credentials(KRAKEN, "alice", key("k2"), actor="test")


def test_another_secret_key_is_an_error_and_the_environment_heals_it(store: FollowerStore, engine: Engine) -> None:
    """The key of a database follower needs the old NIJA_SECRET_KEY. A key from the environment is sealed again."""
    store.add(KRAKEN, "alice", key("k1"), actor="test")
    store.register_environment(in_environment(("bob", "k2")))
    other = FollowerStore(engine, SecretBox(SecretStr(Fernet.generate_key().decode())))
    with pytest.raises(BadSecretKey, match="alice"):
        other.credentials(KRAKEN, ["alice"])
    assert other.register_environment(in_environment(("bob", "k2"))).updated == ((KRAKEN, "bob"),)
    assert other.credentials(KRAKEN, ["bob"]) == {"bob": key("k2")}


def test_all_keys_move_to_a_new_secret_key(engine: Engine) -> None:
    """After the rotation the new NIJA_SECRET_KEY is enough to open every key, also that of a traded master account."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    FollowerStore(engine, SecretBox(SecretStr(old))).add(KRAKEN, "alice", key("k1"), actor="test")
    MasterKeys(engine, SecretBox(SecretStr(old))).keep(KRAKEN, MasterAccount("main"), key("k2"))
    assert FollowerStore(engine, SecretBox(SecretStr(f"{new},{old}"))).rotate_secret_key() == 2
    masters = MasterKeys(engine, SecretBox(SecretStr(new)))
    assert masters.of_mailboxes(KRAKEN, ["master:main"]) == {"master:main": key("k2")}
    rotated = FollowerStore(engine, SecretBox(SecretStr(new)))
    assert rotated.credentials(KRAKEN, ["alice"]) == {"alice": key("k1")}


def statements_of_a_roster(store: FollowerStore, engine: Engine) -> list[str]:
    """Read the roster of Kraken; return the SQL statements that it took."""
    found: list[str] = []

    def remember(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", remember)
    store.roster(KRAKEN)
    event.remove(engine, "before_cursor_execute", remember)
    return found


def test_a_thousand_followers_are_listed_by_the_statements_for_one(store: FollowerStore, engine: Engine) -> None:
    """All rows of an import are there. A roster costs the same statements for any number of followers."""
    store.add(KRAKEN, "alice", key("key of alice"), actor="test")
    for_one = statements_of_a_roster(store, engine)
    store.import_rows([NewFollower(KRAKEN, f"f{n}", key(f"k{n}"), n) for n in range(1_000)], actor="test")
    assert len(store.roster(KRAKEN)) == 1_001
    assert statements_of_a_roster(store, engine) == for_one
    assert 0 < len(for_one) < 10
