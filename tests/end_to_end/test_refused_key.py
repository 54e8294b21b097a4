"""A key that the broker refuses stops its own follower and nobody else; with another key it copies again.

The real `nija up` with everything that it starts; only the broker is a paper one, reached as a real one would be.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ccxt  # type: ignore[import-untyped]
import pytest

from shared.domain.credentials import Credentials
from shared.domain.identity import Broker
from tests.contract.paper import PaperServer

DEADLINE_SECONDS = 90
TRADING = ("query-funds", "query-open-trades", "query-closed-trades", "modify-trades", "close-trades")


@dataclass
class System:
    """A running `nija up` and the broker that it trades at."""

    folder: Path
    environment: dict[str, str]
    paper: PaperServer
    person: Any
    """A client with the master's second key."""

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

    def buy(self) -> dict[str, tuple[str, str | None]]:
        """Let the master buy; return how that fill ended for each follower, once nobody is pending."""
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
    """alice may trade, mallory's key may withdraw; both are followers of the environment."""
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
    log = tmp_path / "output"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "services.cli.app", "up"],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: "nija runs for kraken" in log.read_text() or process.poll() is not None, "nija runs")
        assert process.poll() is None, log.read_text()
        assert "mallory is not used, this follower is disabled: the key may withdraw" in log.read_text()
        yield System(tmp_path, environment, paper, person)
    finally:
        process.terminate()
        process.wait(60)
        person.session.close()


@pytest.mark.long
def test_a_refused_key_stops_its_own_follower_until_it_has_another(system: System) -> None:
    """bob's key is refused while everything runs: alice copies on, and so does bob with a right key."""
    bob = system.paper.new_account("bob", {"USD": "10000"})
    wrong = bob.model_copy(update={"api_secret": system.paper.new_account("x", {"USD": "1"}).api_secret})
    added = system.nija(
        "followers", "add", "bob", "--broker", "kraken", "--no-check", **variables("NIJA_FOLLOWER", wrong)
    )
    assert added.returncode == 0, added.stderr
    until(lambda: system.followers()["bob"]["status"] == "disabled", "bob is disabled")
    found = system.followers()
    assert "Invalid signature" in found["bob"]["status_reason"]
    assert found["alice"]["status"] == "active"
    assert found["mallory"]["status"] == "disabled"
    states = {state["user_id"]: state for state in system.ask("accounts")}
    until(lambda: {s["user_id"]: s for s in system.ask("accounts")}["alice"]["connected"], "alice is read")
    assert states["bob"]["connected"] is False
    disabled = ("skipped", "disabled")
    assert system.buy() == {
        "": ("1 copied", "2 skipped"),
        "alice": ("copied", None),
        "bob": disabled,
        "mallory": disabled,
    }

    resumed = system.nija("followers", "resume", "bob")
    assert resumed.returncode == 2
    assert "refuses the key" in resumed.stderr
    assert system.followers()["bob"]["status"] == "disabled"

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
