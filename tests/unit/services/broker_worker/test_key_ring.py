"""Tests that the key ring reads keys as seldom as possible, and that no account waits for the key of another one."""

import asyncio
import threading
from collections.abc import Mapping, Sequence

import pytest
from pydantic import SecretStr

from services.broker_worker.key_ring import Key, KeyRing
from shared.domain.accounts.credentials import Credentials
from shared.persistence.errors import DatabaseUnavailable

KEY = Credentials(api_key=SecretStr("key"), api_secret=SecretStr("secret"))
MASTER = "master:main"


class Store:
    """Records which keys are loaded. A follower whose id begins with `no` has no key."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.is_away = False
        self.lent = KEY
        """The key with which the strategy trades."""
        self.door = threading.Event()
        """A query waits for it."""
        self.door.set()

    def load(self, follower_ids: Sequence[str]) -> Mapping[str, Credentials]:
        if self.is_away:
            raise DatabaseUnavailable("PostgreSQL is away")
        self.asked.append(list(follower_ids))
        self.door.wait(5)
        return {follower_id: KEY for follower_id in follower_ids if not follower_id.startswith("no")}

    async def is_lent(self, _: str, key: Credentials) -> bool:
        return key == self.lent


async def keys(ring: KeyRing, version: int, names: Sequence[str]) -> Mapping[str, Key]:
    """All these keys, as a drain reads them."""
    ring.prepare(version, names)
    return {name: await ring.key(name) for name in names}


async def test_keys_are_loaded_once() -> None:
    """Only unknown followers are loaded. That a follower has no key is remembered, too."""
    store = Store()
    ring = KeyRing(store.load, store.is_lent)
    assert (await keys(ring, 1, ["alice", "nobody"]))["nobody"] is None
    known = await keys(ring, 1, ["alice", "nobody", "bob"])
    assert (known["alice"], known["bob"]) == (KEY, KEY)
    assert store.asked == [["alice", "nobody"], ["bob"]]


async def test_a_new_version_of_the_follower_list_empties_the_ring() -> None:
    """After a change of the list, a key that was replaced or removed is no longer used."""
    store = Store()
    ring = KeyRing(store.load, store.is_lent)
    await keys(ring, 1, ["alice"])
    await keys(ring, 2, ["alice"])
    assert store.asked == [["alice"], ["alice"]]


async def test_a_store_that_is_away_is_asked_again() -> None:
    """The failure is raised, and the next call asks the store again."""
    store = Store()
    ring = KeyRing(store.load, store.is_lent)
    store.is_away = True
    with pytest.raises(DatabaseUnavailable):
        await keys(ring, 1, ["alice"])
    store.is_away = False
    assert (await keys(ring, 1, ["alice"]))["alice"] == KEY


async def test_the_key_of_a_master_account_is_read_each_time_and_by_itself() -> None:
    """The follower list does not say when it changes. The keys of followers stay known."""
    store = Store()
    ring = KeyRing(store.load, store.is_lent)
    await keys(ring, 1, ["alice", MASTER])
    assert (await keys(ring, 1, ["alice", MASTER]))[MASTER] == KEY
    assert sorted(store.asked) == [["alice"], [MASTER], [MASTER]]


async def test_without_postgresql_the_key_of_a_master_account_known_last_is_used() -> None:
    """A key that was never read is not guessed. A change of the follower list forgets no key of a master account."""
    store = Store()
    ring = KeyRing(store.load, store.is_lent)
    await keys(ring, 1, [MASTER])
    store.is_away = True
    assert await keys(ring, 2, [MASTER]) == {MASTER: KEY}
    with pytest.raises(DatabaseUnavailable):
        await keys(ring, 2, ["master:other"])


async def test_an_earlier_key_of_a_master_account_is_not_used_without_postgresql() -> None:
    """The trader has taken another key meanwhile, perhaps of another account. The order waits for PostgreSQL."""
    store = Store()
    ring = KeyRing(store.load, store.is_lent)
    await keys(ring, 1, [MASTER])
    store.is_away, store.lent = True, Credentials(api_key=SecretStr("new"), api_secret=SecretStr("secret"))
    with pytest.raises(DatabaseUnavailable):
        await keys(ring, 1, [MASTER])


async def test_a_missing_key_of_a_master_account_is_not_remembered() -> None:
    """The trader had not stored it yet. Without PostgreSQL, its orders wait instead of being skipped."""
    store = Store()
    ring = KeyRing(lambda _: {}, store.is_lent)
    assert await keys(ring, 1, [MASTER]) == {MASTER: None}
    store.is_away, ring._load = True, store.load
    with pytest.raises(DatabaseUnavailable):
        await keys(ring, 1, [MASTER])


async def test_a_postgresql_that_hangs_holds_up_no_account_whose_key_is_known() -> None:
    """Alice and the master account go on. A new follower is given up in time, and asked for by one query only."""
    store = Store()
    ring = KeyRing(store.load, store.is_lent, answer_seconds=0.05)
    await keys(ring, 1, ["alice", MASTER])
    store.door.clear()
    try:
        async with asyncio.timeout(2):
            assert await keys(ring, 1, ["alice", MASTER]) == {"alice": KEY, MASTER: KEY}
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable, match="PostgreSQL has not returned the key"):
                    await keys(ring, 1, ["alice", "bob"])
    finally:
        store.door.set()
    assert store.asked.count(["bob"]) == 1


async def test_a_key_that_was_read_for_an_older_follower_list_is_not_kept() -> None:
    """The list changes while the query runs, so the answer may have the key that was replaced."""
    store = Store()
    ring = KeyRing(store.load, store.is_lent)
    store.door.clear()
    ring.prepare(1, ["alice"])
    waiting = asyncio.create_task(ring.key("alice"))
    await asyncio.sleep(0.02)
    ring.prepare(2, ["bob"])
    store.door.set()
    assert await waiting == KEY
    await keys(ring, 2, ["alice"])
    assert store.asked.count(["alice"]) == 2
