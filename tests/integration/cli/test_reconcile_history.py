"""Tests that `nija reconcile --history` shows what repairs changed, on a ledger with two of them."""

import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from services.cli.app import main
from shared.domain.accounts.credentials import Credentials
from shared.domain.events import PositionAdjusted
from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.ledger import Ledger
from tests.support.examples import NOW

Nija = Callable[..., tuple[int, str, str]]


def a_repair(broker: Broker, follower_id: str, actor: str, minutes: int) -> PositionAdjusted:
    """0.40102588 BTC were copied, and 0.1 were there."""
    return PositionAdjusted.model_validate(
        {
            "broker": broker,
            "follower_id": follower_id,
            "asset": "BTC",
            "sequence": 7,
            "quantity_before": "0.40102588",
            "carried_exit_before": "0",
            "quantity_after": "0.1",
            "carried_exit_after": "0",
            "real_quantity": "0.1",
            "actor": actor,
            "reason": "the account holds less than was copied",
            "occurred_at": NOW + timedelta(minutes=minutes),
        }
    )


@pytest.fixture
def nija(
    fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Nija:
    """Runs `nija reconcile …` on a ledger with a repair that a person made, and a later one of the policy."""
    engine = open_engine(fresh_database_url, pool_size=1)
    store = FollowerStore(engine, SecretBox(SecretStr(Fernet.generate_key().decode())))
    for broker, name in ((Broker.KRAKEN, "alice"), (Broker.OKX, "bob"), (Broker.KRAKEN, "carol")):
        parts = {"api_key": SecretStr(f"key-{name}"), "api_secret": SecretStr("c2VjcmV0")}
        passphrase = SecretStr("word") if broker is Broker.OKX else None
        store.add(broker, name, Credentials(**parts, passphrase=passphrase), actor="test")
    repairs = [a_repair(Broker.KRAKEN, "alice", "cli:maria", 0), a_repair(Broker.OKX, "bob", "policy", 5)]
    Ledger(engine).write(repairs)
    engine.dispose()

    def run(*arguments: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            variables = {"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": "", "NIJA_HOME": str(tmp_path / "home")}
            patch.setattr(os, "environ", {**variables, "DATABASE_URL": fresh_database_url})
            patch.setattr(sys, "argv", ["nija", "reconcile", *arguments])
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        output = capfd.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def test_the_history_tells_who_had_which_position_lowered(nija: Nija) -> None:
    """Newest first, exact amounts, and both filters; no Redis and no worker is needed."""

    def found(*arguments: str) -> list[dict[str, Any]]:
        code, out, _ = nija("--history", "--json", *arguments)
        assert code == 0
        return list(json.loads(out))

    assert [(line["broker"], line["follower_id"], line["actor"]) for line in found()] == [
        ("okx", "bob", "policy"),
        ("kraken", "alice", "cli:maria"),
    ]
    [alice] = found("--broker", "kraken")
    assert (alice["quantity_before"], alice["quantity_after"], alice["real_quantity"]) == ("0.40102588", "0.1", "0.1")
    assert found("--follower", "bob") == found("--broker", "okx")
    assert found("--follower", "carol") == []


def test_the_history_for_people_tells_amounts_and_reason(nija: Nija) -> None:
    """A row for each repair, and words where there is none."""
    _, out, _ = nija("--history", "--broker", "kraken")
    [row] = [line for line in out.splitlines() if "alice" in line]
    assert row.split()[2:7] == ["alice", "BTC", "0.40102588", "0.1", "cli:maria"]
    assert row.endswith("the account holds less than was copied")
    assert nija("--history", "-f", "carol")[1] == "no copied position of carol was repaired\n"


def test_the_history_repairs_nothing(nija: Nija) -> None:
    """Both at once is wrong use."""
    code, _, reported = nija("--history", "--repair")
    assert (code, reported) == (2, "nija: --history shows repairs and makes none: give it or --repair\n")
