"""A key that the broker refuses stops only its own follower, which copies again once it has another key.

The tests run the real `nija up` with all its processes. Only the broker is a paper broker, reached like a real one.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ccxt  # type: ignore[import-untyped]
import pytest

from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.contract.paper import PaperServer

DEADLINE_SECONDS = 90
TRADING = ("query-funds", "query-open-trades", "query-closed-trades", "modify-trades", "close-trades")


@dataclass
class System:
    """A `nija up` and the broker at which it trades."""

    folder: Path
    environment: dict[str, str]
    paper: PaperServer
    person: Any
    """A client with the second key of the master."""

    @contextmanager
    def up(self) -> Iterator[str]:
        """Run it; yield its output up to the line that says that it runs."""
        log = self.folder / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "services.cli.app", "up"],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        try:
            until(lambda: "nija runs for kraken" in log.read_text() or process.poll() is not None, "nija runs")
            assert process.poll() is None, log.read_text()
            yield log.read_text()
        finally:
            process.terminate()
            process.wait(60)

    def nija(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "services.cli.app", *arguments],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def ask(self, *arguments: str) -> Any:
        return json.loads(self.nija(*arguments, "--json").stdout)

    def followers(self) -> dict[str, dict[str, Any]]:
        return {each["follower_id"]: each for each in self.ask("followers", "list")}

    def refusals(self) -> list[str]:
        """The findings about refused keys."""
        return [each["message"] for each in self.ask("status")["findings"] if each["kind"] == "key_refused"]

    def buy(self) -> dict[str, tuple[str, str | None]]:
        """Let the master buy; return the outcome of the fill for each follower once none is pending."""
        before = len(self.ask("fills"))
        self.person.create_order("BTC/USD", "market", "buy", "0.05")
        until(lambda: len(self.ask("fills")) > before and not self.ask("fills")[0]["pending"], "the fill is settled")
        fill = self.ask("fills")[0]
        orders = {
            each["follower_id"]: (each["outcome"], each["reason"])
            for each in self.ask("orders", "--fill", str(fill["sequence"]))
        }
        return {"": (f"{fill['copied']} copied", f"{fill['skipped']} skipped"), **orders}


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.1)


def variables(prefix: str, key: Credentials) -> dict[str, str]:
    return {
        f"{prefix}_API_KEY": key.api_key.get_secret_value(),
        f"{prefix}_API_SECRET": key.api_secret.get_secret_value(),
    }


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperServer]:
    """A paper Kraken."""
    server = PaperServer(Broker.KRAKEN, tmp_path)
    yield server
    server.stop()


@pytest.fixture
def system(paper: PaperServer, tmp_path: Path) -> Iterator[System]:
    """A system that does not run yet, with the followers alice and mallory from the environment.

    The key of alice may trade. The key of mallory may withdraw, which nija does not allow.
    """
    keys = paper.ask("POST", "accounts", {"name": "master", "balances": {"USD": "100000"}, "keys": 2})["keys"]
    alice = paper.new_account("alice", {"USD": "10000"})
    mallory = paper.new_account("mallory", {"USD": "10000"}, (*TRADING, "withdraw-funds"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "COLUMNS": "200",
        "KRAKEN_BASE_URL": paper.url,
        "KRAKEN_MASTER_API_KEY": keys[0]["api_key"],
        "KRAKEN_MASTER_API_SECRET": keys[0]["api_secret"],
        "NIJA_SNAPSHOT_REFRESH_SECONDS": "2",
        "NIJA_MASTER_POLL_SECONDS": "0.5",
        **variables("KRAKEN_USER_ALICE", alice),
        **variables("KRAKEN_USER_MALLORY", mallory),
    }
    person = ccxt.kraken({"apiKey": keys[1]["api_key"], "secret": keys[1]["api_secret"], "enableRateLimit": False})
    person.urls["api"] = {"public": paper.url, "private": paper.url}
    yield System(tmp_path, environment, paper, person)
    person.session.close()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_refused_key_stops_its_own_follower_until_it_has_another(system: System) -> None:
    """The key of bob is refused while nija runs: alice copies on, and bob copies again with a correct key."""
    with system.up() as said:
        assert "mallory is not used, this follower is disabled: the key may withdraw" in said
        refuse_and_replace(system)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_broker_in_trouble_at_a_start_stops_nobody(system: System) -> None:
    """The broker answers every question about keys with 502: the master is still watched, and alice copies as before.

    The new follower carol waits until the broker has confirmed her key. Later the variables of alice are removed, and
    nija reports that.
    """
    with system.up():
        assert system.buy()["alice"] == ("copied", None)
    system.environment |= variables("KRAKEN_USER_CAROL", system.paper.new_account("carol", {"USD": "10000"}))
    system.paper.fault("http_error", endpoint="GetApiKeyInfo", count=1000)
    with system.up() as said:
        assert "kraken: the key of master was not checked: kraken did not say" in said
        assert "kraken: the key of alice was not checked: kraken did not say" in said
        assert "kraken: the key of carol is not used, this follower is disabled: kraken did not say" in said
        assert system.buy()["alice"] == ("copied", None)
    system.paper.ask("DELETE", "faults")
    for name in [name for name in system.environment if "ALICE" in name]:
        del system.environment[name]
    with system.up() as said:
        assert "kraken: follower carol is active again: its key is in order again" in said
        assert "kraken: follower alice is disabled: its variables are not in the environment any more" in said
        assert system.buy()["carol"] == ("copied", None)


def refuse_and_replace(system: System) -> None:
    bob = system.paper.new_account("bob", {"USD": "10000"})
    wrong = bob.model_copy(update={"api_secret": system.paper.new_account("x", {"USD": "1"}).api_secret})
    added = system.nija(
        "followers", "add", "bob", "--broker", "kraken", "--no-check", **variables("NIJA_FOLLOWER", wrong)
    )
    assert added.returncode == 0, added.stderr
    until(lambda: bool(system.refusals()), "the refusal is found")
    assert "Invalid signature" in system.refusals()[0]
    found = system.followers()
    assert (found["alice"]["status"], found["bob"]["status"]) == ("active", "active")
    assert found["mallory"]["status"] == "disabled"
    states = {state["user_id"]: state for state in system.ask("accounts")}
    until(lambda: {s["user_id"]: s for s in system.ask("accounts")}["alice"]["connected"], "alice is read")
    assert states["bob"]["connected"] is False
    disabled = ("skipped", "disabled")
    assert system.buy() == {
        "": ("1 copied", "2 skipped"),
        "alice": ("copied", None),
        "bob": ("skipped", "account_unknown"),
        "mallory": disabled,
    }

    replaced = system.nija("followers", "replace-key", "bob", **variables("NIJA_FOLLOWER", bob))
    assert replaced.returncode == 0, replaced.stderr
    until(lambda: {s["user_id"]: s for s in system.ask("accounts")}["bob"]["connected"], "bob's account is read")
    assert system.buy() == {
        "": ("2 copied", "1 skipped"),
        "alice": ("copied", None),
        "bob": ("copied", None),
        "mallory": disabled,
    }
    assert len(system.paper.orders_of("bob")) == 1
    assert system.paper.orders_of("mallory") == []
