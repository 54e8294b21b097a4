"""A start of `nija up` uses only acceptable keys, even while the broker is in trouble.

The servers are real, and the broker is a paper Kraken.
"""

import asyncio
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Engine

from shared.actions.keys_at_start import ACTOR, StartKeys, check_keys_at_start
from shared.config import load_settings
from shared.config.operator import action_context
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from tests.contract.paper import PaperServer

KRAKEN = Broker.KRAKEN
ACTIVE, PAUSED, DISABLED = FollowerStatus.ACTIVE, FollowerStatus.PAUSED, FollowerStatus.DISABLED
WITHDRAWING = ("query-funds", "query-open-trades", "query-closed-trades", "modify-trades", "withdraw-funds")
READING = ("query-funds", "query-open-trades", "query-closed-trades")
IN_TROUBLE = 1000
"""More failing answers than one start can ask for."""

_NUMBERS = count(1)


class Starts:
    """Repeated starts of `nija up` on one database, as far as they concern keys."""

    def __init__(self, paper: PaperServer, redis_url: str, engine: Engine, box_key: str) -> None:
        self.paper = paper
        self.store = FollowerStore(engine, SecretBox(SecretStr(box_key)))
        self._engine = engine
        self._variables = {"REDIS_URL": redis_url, "NIJA_SECRET_KEY": box_key, "KRAKEN_BASE_URL": paper.url}
        self.set_master()

    def set_master(self, *permissions: str) -> None:
        self._variables |= variables("KRAKEN_MASTER", self.new_key("master", *permissions))

    def new_key(self, name: str, *permissions: str) -> Credentials:
        return self.paper.new_account(f"{name}-{next(_NUMBERS)}", {"USD": "1000"}, permissions)

    def start(
        self, followers: Mapping[str, Credentials], *, in_trouble: bool = False, allowed: str = ""
    ) -> tuple[tuple[Broker, ...], str]:
        """Check the keys of a start; return the brokers that can run and the notes."""
        found = self.check(followers, in_trouble=in_trouble, allowed=allowed)
        return found.usable, "\n".join(found.notes)

    def check(self, followers: Mapping[str, Credentials], *, in_trouble: bool = False, allowed: str = "") -> StartKeys:
        """Register the followers and check all keys of a start."""
        given = {**self._variables, "NIJA_ALLOW_WITHDRAW_KEYS": allowed}
        for name, key in followers.items():
            given |= variables(f"KRAKEN_USER_{name.upper()}", key)
        settings = load_settings(given)
        named = settings.environment_followers()
        registration = self.store.register_environment(named)
        context = action_context(settings, self._engine)
        if in_trouble:
            self.paper.fault("http_error", endpoint="GetApiKeyInfo", count=IN_TROUBLE)
        try:
            return asyncio.run(check_keys_at_start(context, [KRAKEN], named, registration))
        finally:
            self.paper.ask("DELETE", "faults")

    def status(self, name: str) -> FollowerStatus:
        return self.store.get(KRAKEN, name).status


def variables(prefix: str, key: Credentials) -> dict[str, str]:
    return {
        f"{prefix}_API_KEY": key.api_key.get_secret_value(),
        f"{prefix}_API_SECRET": key.api_secret.get_secret_value(),
    }


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperServer]:
    """A paper Kraken whose keys do not show whose account they open, as most keys at Kraken."""
    server = PaperServer(KRAKEN, tmp_path_factory.mktemp("paper"), shows_identity=False)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _rested(paper: PaperServer) -> None:
    """Each test begins with nothing counted, as after a pause. The limits stay in force."""
    paper.pause()


@pytest.fixture
def starts(
    paper: PaperServer,
    fresh_redis_url: str,
    fresh_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Starts]:
    """A system that has never started, with a master key that may only trade."""
    monkeypatch.chdir(tmp_path)
    engine = open_engine(fresh_database_url)
    box_key = Fernet.generate_key().decode()
    yield Starts(paper, fresh_redis_url, engine, box_key)
    engine.dispose()


def test_a_broker_in_trouble_stops_nobody_who_was_in_use(starts: Starts) -> None:
    """Master and follower are used as before and reported as unchecked. A new follower has to wait."""
    alice, bob, carol = (starts.new_key(name) for name in ("alice", "bob", "carol"))
    assert starts.start({"alice": alice, "bob": bob}) == ((KRAKEN,), "")
    starts.store.set_status(KRAKEN, "bob", PAUSED, actor="test")
    used, said = starts.start({"alice": alice, "bob": bob, "carol": carol}, in_trouble=True)
    assert used == (KRAKEN,)
    for name in ("master", "alice", "bob"):
        assert f"kraken: the key of {name} was not checked: kraken did not say" in said
    assert "kraken: the key of carol is not used, this follower is disabled: kraken did not say" in said
    assert [starts.status(name) for name in ("alice", "bob", "carol")] == [ACTIVE, PAUSED, DISABLED]
    assert starts.start({"alice": alice, "bob": bob, "carol": carol}) == (
        (KRAKEN,),
        "kraken: follower carol is active again: its key is in order again",
    )
    assert starts.status("carol") is ACTIVE


def test_another_key_has_to_be_checked(starts: Starts) -> None:
    """A follower with a new key is disabled until that key is checked, although its old key was in use."""
    starts.start({"alice": starts.new_key("alice")})
    starts.start({"alice": starts.new_key("alice")}, in_trouble=True)
    assert starts.status("alice") is DISABLED


def test_who_was_disabled_stays_so_while_the_broker_is_in_trouble(starts: Starts) -> None:
    """While the broker is in trouble nothing confirms the key. To allow it by name does not help either."""
    mallory = starts.new_key("mallory", *READING)
    _, said = starts.start({"mallory": mallory})
    assert "mallory is not used, this follower is disabled: the key may not trade" in said
    starts.start({"mallory": mallory}, in_trouble=True)
    assert starts.status("mallory") is DISABLED
    starts.start({"mallory": mallory}, in_trouble=True, allowed="kraken:mallory")
    assert starts.status("mallory") is DISABLED


def test_a_key_that_may_withdraw_still_stops_its_follower_and_its_master(starts: Starts) -> None:
    """The broker reports this permission, so earlier use does not count.

    A follower that is allowed by name is active again.
    """
    starts.start({"alice": starts.new_key("alice")})
    alice = starts.new_key("alice", *WITHDRAWING)
    starts.start({"alice": alice})
    assert starts.status("alice") is DISABLED
    _, said = starts.start({"alice": alice}, allowed="kraken:alice")
    assert "kraken: follower alice is active again" in said
    assert starts.status("alice") is ACTIVE
    starts.start({"alice": alice})
    assert starts.status("alice") is DISABLED
    starts.set_master(*WITHDRAWING)
    found = starts.check({})
    assert found.usable == ()
    assert "no master's key may be used: kraken: the key may withdraw" in found.refusal()


@pytest.mark.parametrize("actor", ["broker", "ann"])
def test_somebody_elses_word_stands(starts: Starts, actor: str) -> None:
    """A follower that the broker or an operator disabled stays disabled, even if this check had disabled it earlier."""
    alice = starts.new_key("alice", *WITHDRAWING)
    starts.start({"alice": alice})
    starts.start({"alice": alice}, allowed="kraken:alice")
    starts.store.set_status(KRAKEN, "alice", DISABLED, actor=actor, reason="enough")
    assert starts.start({"alice": alice}, allowed="kraken:alice") == ((KRAKEN,), "")
    assert (starts.status("alice"), starts.store.changes(KRAKEN, "alice", 1)[0].actor) == (DISABLED, actor)


def test_a_pause_outlasts_the_check(starts: Starts) -> None:
    """A paused follower that was disabled for its key is paused again when the key is in order.

    The audit names the check as the actor of that change.
    """
    alice = starts.new_key("alice", *WITHDRAWING)
    starts.start({"alice": alice}, allowed="kraken:alice")
    starts.store.set_status(KRAKEN, "alice", PAUSED, actor="ann")
    starts.start({"alice": alice})
    assert starts.status("alice") is DISABLED
    _, said = starts.start({"alice": alice}, allowed="kraken:alice")
    assert said == "kraken: follower alice is paused again: its key is in order again"
    assert starts.status("alice") is PAUSED
    assert starts.store.changes(KRAKEN, "alice", 1)[0].actor == ACTOR


def test_a_removed_follower_is_not_asked_for(starts: Starts) -> None:
    """The key of a removed follower is not checked, although its variables still exist."""
    alice = starts.new_key("alice", *READING)
    starts.start({"alice": alice})
    starts.store.remove(KRAKEN, "alice", actor="ann")
    assert starts.start({"alice": alice}) == ((KRAKEN,), "")
