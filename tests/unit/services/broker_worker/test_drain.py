"""Tests that the key ring loads keys once for each version of the follower list."""

from collections.abc import Mapping, Sequence

import pytest
from pydantic import SecretStr

from services.broker_worker.drain import KeyRing
from shared.domain.accounts.credentials import Credentials
from shared.persistence.errors import DatabaseUnavailable

KEY = Credentials(api_key=SecretStr("key"), api_secret=SecretStr("secret"))


class Store:
    """Records which keys are loaded. A follower whose id begins with `no` has no key."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.is_away = False

    def load(self, follower_ids: Sequence[str]) -> Mapping[str, Credentials]:
        if self.is_away:
            raise DatabaseUnavailable("PostgreSQL is away")
        self.asked.append(list(follower_ids))
        return {follower_id: KEY for follower_id in follower_ids if not follower_id.startswith("no")}


async def test_keys_are_loaded_once() -> None:
    """Only unknown followers are loaded. That a follower has no key is remembered, too."""
    store = Store()
    ring = KeyRing(store.load)
    assert (await ring.of(1, ["alice", "nobody"]))["nobody"] is None
    known = await ring.of(1, ["alice", "nobody", "bob"])
    assert (known["alice"], known["bob"]) == (KEY, KEY)
    assert store.asked == [["alice", "nobody"], ["bob"]]


async def test_a_new_version_of_the_follower_list_empties_the_ring() -> None:
    """After a change of the list, a key that was replaced or removed is no longer used."""
    store = Store()
    ring = KeyRing(store.load)
    await ring.of(1, ["alice"])
    await ring.of(2, ["alice"])
    assert store.asked == [["alice"], ["alice"]]


async def test_a_store_that_is_away_is_asked_again() -> None:
    """The failure is raised, and the next call asks the store again."""
    store = Store()
    ring = KeyRing(store.load)
    store.is_away = True
    with pytest.raises(DatabaseUnavailable):
        await ring.of(1, ["alice"])
    store.is_away = False
    assert (await ring.of(1, ["alice"]))["alice"] == KEY


async def test_the_key_of_a_master_account_is_read_each_time() -> None:
    """The follower list does not say when it changes. The keys of followers stay known."""
    store = Store()
    ring = KeyRing(store.load)
    await ring.of(1, ["alice", "master:main"])
    assert (await ring.of(1, ["alice", "master:main"]))["master:main"] == KEY
    assert store.asked == [["alice", "master:main"], ["master:main"]]
