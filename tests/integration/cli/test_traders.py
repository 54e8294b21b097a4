"""Tests what the command line shows of the traders, on a ledger in which two brokers were traded."""

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from redis import Redis

from services.cli.app import main
from shared.domain.fill import Side
from shared.domain.identity import Broker, MasterAccount
from shared.domain.strategy.decide import decide_from
from shared.domain.strategy.decision import Enter
from shared.domain.strategy.entries import position_of
from shared.domain.strategy.trader_health import TraderHealth
from shared.domain.strategy.trader_state import TraderState
from shared.messaging.keys import BrokerKeys
from shared.messaging.stage_signs import Stage, StageRecord, StageState, leave_sign
from shared.persistence.database import open_engine
from shared.persistence.traders import TraderStore
from tests.support.strategy import BTC_USD, STARTS_AT, fill, inputs

Nija = Callable[..., tuple[int, str]]
MASTER = MasterAccount("master")
GATE = {
    "recommendation": "ENTER",
    "reason": "Enter with 150.00 USD.",
    "decided_by": "class_risk",
    "position_size_usd": "150.00",
    "quantity": "0.15",
    "margin_required": "150.00",
    "risk_pct": "1.5",
    "adjustments": [
        {"name": "half_kelly", "factor": "0.0833", "size": "833.33"},
        {"name": "class_risk", "factor": "0.18", "size": "150.00"},
    ],
}


@pytest.fixture
def nija(
    fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Nija:
    """Runs `nija …` for Kraken, which is traded, OKX, which has failed, and Binance, where no trader has run."""
    engine = open_engine(fresh_database_url, pool_size=1)
    now, store = datetime.now(UTC), TraderStore(engine)
    state = TraderState(
        health=TraderHealth(cycles=50, successful_cycles=48),
        cycle_at=now,
        next_cycle_at=now + timedelta(seconds=150),
    ).with_account(Decimal("10000.129"), Decimal("4000.001"))
    kraken, okx = (store.of(broker, MASTER) for broker in (Broker.KRAKEN, Broker.OKX))
    kraken.take_cycle(7, "first", now)
    kraken.store_state(7, "first", now, state)
    entry = decide_from(inputs())
    assert isinstance(entry, Enter)
    kraken.record("kraken-7-BTC-USD", 7, BTC_USD, entry, STARTS_AT)
    kraken.note_gate("kraken-7-BTC-USD", GATE)
    kraken.note_outcome("kraken-7-BTC-USD", "bought 0.15 BTC at 1000")
    kraken.book_fills("kraken-7-BTC-USD", position_of(entry), [fill(Side.BUY, "0.15", "1000")])
    failed = state
    for cycle in range(5):
        failed = failed.after_error(cycle, now, "NotSent: no connection")
    okx.take_cycle(9, "first", now)
    okx.store_state(9, "first", now, failed)
    engine.dispose()

    def run(*arguments: str, **changed: str) -> tuple[int, str]:
        variables = {
            "NIJA_ENV_FILE": "",
            "NIJA_CONFIG_FILE": "",
            "NIJA_HOME": str(tmp_path / "home"),
            "NIJA_BROKERS": "kraken,okx,binance",
            "DATABASE_URL": fresh_database_url,
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "COLUMNS": "200",
        }
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", variables | changed)
            patch.setattr(sys, "argv", ["nija", *arguments])
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        output = capfd.readouterr()
        return int(ended.value.code or 0), output.out + output.err

    return run


def test_check_trading_answers_whether_a_funded_broker_is_traded(nija: Nija) -> None:
    """Kraken is, so the answer is yes. OKX has failed, and no trader has run for Binance."""
    code, shown = nija("check", "trading")
    assert code == 0
    assert "brokers: 3 in all, 1 connected, 2 funded, 1 active" in shown
    assert "48/50" in shown
    assert "96.0%" in shown
    assert "10000.12" in shown
    assert "NotSent: no connection" in shown
    assert "MULTI_BROKER_INDEPENDENT: not set: on paper only" in shown
    code, shown = nija("check", "trading", "--json")
    answer = json.loads(shown)
    assert (code, answer["connected"], answer["funded"], answer["active"]) == (
        0,
        ["kraken"],
        ["kraken", "okx"],
        ["kraken"],
    )
    assert [trader["status"] for trader in answer["traders"]] == ["healthy", "failed", "unknown"]
    assert answer["open_positions"] == 1


@pytest.mark.parametrize(("broker", "code"), [("kraken", 0), ("okx", 1), ("binance", 1)])
def test_check_trading_of_one_broker(nija: Nija, broker: str, code: int) -> None:
    """The exit code is about this broker only."""
    assert nija("check", "trading", "--broker", broker)[0] == code


def test_check_positions_answers_whether_the_strategy_holds_anything(nija: Nija) -> None:
    """Kraken has a position, and its row names the decision. OKX has none."""
    code, shown = nija("check", "positions")
    assert code == 0
    assert "kraken-7-BTC-USD" in shown
    code, shown = nija("check", "positions", "--json")
    (found,) = json.loads(shown)
    assert (code, found["broker"], found["quantity"], found["average_price"]) == (0, "kraken", "0.15", "1000")
    assert nija("check", "positions", "--broker", "okx") == (1, "the strategy holds no positions\n")


def test_explain_shows_every_value_and_the_limit_that_decided(nija: Nija) -> None:
    """The market, the account, the sizes of the strategy and the steps of the gate, each with what decided it."""
    code, shown = nija("explain", "kraken-7-BTC-USD")
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert code == 0, shown
    assert "outcome: bought 0.15 BTC at 1000" in lines
    for expected in (
        "decided at 2024-01-01 00:05:10 (UTC)",
        "ADX14 35 > 20 yes",
        "EMA9 998 > EMA21 997 > EMA50 996 yes",
        "equity 10000 USD",
        "asked with score 100 of 100",
        "trend 600 USD decides",
        "class_risk 150 USD × 0.18, decides",
        "approved 150 USD",
    ):
        assert expected in lines, expected
    code, shown = nija("explain", "kraken-7-BTC-USD", "--json")
    assert json.loads(shown)["gate"]["decided_by"] == "class_risk"


def test_a_decision_that_is_not_there_is_wrong_use(nija: Nija) -> None:
    """The text says where decisions are named."""
    code, shown = nija("explain", "kraken-8-BTC-USD")
    assert (code, "there is no decision 'kraken-8-BTC-USD'" in shown) == (2, True)


def test_status_shows_the_traders_and_finds_the_failed_one(nija: Nija) -> None:
    """The section has the same numbers as `nija check trading`."""
    code, shown = nija("status", "--json")
    answer = json.loads(shown)
    kinds = [(each["kind"], each["broker"]) for each in answer["findings"]]
    assert code == 1
    assert ("trader_failed", "okx") in kinds
    assert ("trader_failed", "kraken") not in kinds
    assert [each["broker"] for each in answer["traders"]["traders"]] == ["kraken", "okx", "binance"]
    assert "brokers: 3 in all, 1 connected, 2 funded, 1 active" in nija("status")[1]


def test_flatten_says_where_no_trader_would_sell(nija: Nija, fresh_redis_url: str) -> None:
    """Kraken holds a position, and no process trades it: none runs, or one runs idle.

    With a trader that starts, or that holds the lease of the account, there is no finding.
    """
    keys = BrokerKeys(Broker.KRAKEN)
    flatten = ("stop", "--mode", "flatten", "--yes")
    record = StageRecord.of_this_process(Stage.STRATEGY_TRADER)
    for state, expected in ((None, 1), (StageState.STARTING, 0), (StageState.RUNNING, 1)):
        if state is not None:
            leave_sign(fresh_redis_url, keys, record.now(state))
        code, said = nija(*flatten, REDIS_URL=fresh_redis_url)
        assert code == expected
        assert ("kraken: no strategy trader trades the account" in said) == bool(expected)
        assert "okx: no strategy trader" not in said
    with Redis.from_url(fresh_redis_url) as redis:
        redis.set(keys.trader_lease, "token", ex=60)
    code, said = nija(*flatten, REDIS_URL=fresh_redis_url)
    assert (code, "no strategy trader" in said) == (0, False)
