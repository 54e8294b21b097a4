"""Tests that `nija replay` finds a fill by what `nija fills` shows, on a ledger of two brokers."""

import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from services.cli.app import main
from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from tests.support.examples import NOW, an_account_fill

Nija = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nija(
    fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Nija:
    """Runs `nija …` on a ledger that has fill 1 of Kraken and fill 1 of OKX."""
    engine = open_engine(fresh_database_url, pool_size=1)
    for broker in (Broker.KRAKEN, Broker.OKX):
        seen = ObservedFill(an_account_fill(fill_id=f"T-{broker.value}"), Decimal(1_000), Decimal(1))
        MasterFills(engine).record(broker, "master", [seen], NOW + timedelta(seconds=1))
    engine.dispose()

    def run(*arguments: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            variables = {"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": "", "NIJA_HOME": str(tmp_path / "home")}
            patch.setattr(os, "environ", {**variables, "DATABASE_URL": fresh_database_url})
            patch.setattr(sys, "argv", ["nija", *arguments])
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        output = capfd.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def test_a_fill_is_found_by_argument_and_option(nija: Nija) -> None:
    """By broker and number, by number and option, and by its id at the broker."""
    for broker in ("kraken", "okx"):
        for way in ([f"{broker}:1"], ["1", "-b", broker], [f"T-{broker}"]):
            code, out, _ = nija("replay", *way, "--json")
            assert (code, json.loads(out)["fill"]["fill_id"]) == (0, f"T-{broker}"), way


def test_a_number_of_two_brokers_says_how_to_name_one(nija: Nija) -> None:
    """What it suggests can be typed."""
    code, _, reported = nija("replay", "1")
    assert (code, reported) == (2, "nija: FILL: '1' is a fill of kraken, okx; choose one: kraken:1\n")


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["kraken:9"], "FILL: there is no fill '9' at kraken"),
        (["kraken:1", "--broker", "okx"], "--broker: kraken:1 is a fill of kraken, not of okx"),
    ],
)
def test_a_fill_that_is_not_there_is_wrong_use(nija: Nija, arguments: list[str], reported: str) -> None:
    """Exit code 2, and what was understood."""
    code, _, error = nija("replay", *arguments)
    assert code == 2
    assert reported in error
