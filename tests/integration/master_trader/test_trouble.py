"""A failing broker, a refused key, lost data and wrong settings are reported, and no fill is lost."""

import json
from pathlib import Path

import pytest

from shared.domain.fill import Side
from tests.integration.master_trader.processes import (
    KEYS,
    Bench,
    start,
)


async def test_a_broker_that_fails_for_a_while_delays_fills_and_loses_none(bench: Bench) -> None:
    """The master trades during each of several faults. The state is `waiting`, and then all fills are published."""
    process = bench.start_master(NIJA_REQUEST_TIMEOUT_SECONDS="1")
    await bench.until_state("watching")
    for fault in (
        {"kind": "http_error", "status": 502},
        {"kind": "html"},
        {"kind": "truncated"},
        {"kind": "reset"},
        {"kind": "reply_lost"},
        {"kind": "invalid_nonce"},
        {"kind": "maintenance"},
        {"kind": "hang", "seconds": 1.5},
    ):
        errors = (bench.folder / "master-0.log").read_text().count("watching interrupted")
        bench.paper.ask("/paper/faults", {**fault, "count": 2, "endpoint": "TradesHistory"})
        await bench.trade(Side.BUY, "0.01")
        await bench.until_all_published()
        await bench.until_state("watching")
        log = (bench.folder / "master-0.log").read_text()
        assert log.count("watching interrupted") == errors + 2, fault
        assert "Traceback" not in log
    assert process.poll() is None


async def test_a_refused_key_is_reported_and_probed_by_a_process_that_stays(bench: Bench) -> None:
    """The state `failed` names the refusal, and neither the status nor the log shows the key."""
    wrong = "d3Jvbmcga2V5IG9mIHRoZSByaWdodCBmb3JtLCBubyBhY2NvdW50IGhhcyBpdA=="
    process = bench.start_master(KRAKEN_MASTER_API_KEY=wrong)
    await bench.until_state("failed", "KeyRefused")
    assert process.poll() is None
    shown = json.dumps(await bench.status()) + (bench.folder / "master-0.log").read_text()
    assert wrong not in shown
    assert bench.paper.keys[0]["api_secret"] not in shown


async def test_a_stream_that_lost_its_entries_stops_publishing_and_says_so(bench: Bench) -> None:
    """No fill is published after the gap, and the ledger keeps all fills."""
    process = bench.start_master()
    await bench.until_state("watching")
    await bench.trade(Side.BUY, "0.01")
    await bench.until_all_published()
    await bench.redis.delete(KEYS.fills)
    await bench.trade(Side.BUY, "0.01")
    await bench.until_state("failed", "Redis lost data")
    assert await bench.published() == []
    assert process.poll() is None


@pytest.mark.parametrize(
    ("environment", "arguments", "named"),
    [
        ({"KRAKEN_MASTER_API_KEY": ""}, [], "KRAKEN_MASTER_API_KEY"),
        ({"KRAKEN_MASTER_API_SECRET": ""}, [], "KRAKEN_MASTER_API_SECRET"),
        ({"KRAKEN_MASTER_API_SECRET": "not base64!"}, [], "KRAKEN_MASTER_API_SECRET"),
        ({"REDIS_URL": ""}, [], "REDIS_URL"),
        ({"DATABASE_URL": ""}, [], "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:///x"}, [], "DATABASE_URL"),
        ({"KRAKEN_BASE_URL": "kraken"}, [], "KRAKEN_BASE_URL"),
        ({"NIJA_MASTER_POLL_SECONDS": "soon"}, [], "NIJA_MASTER_POLL_SECONDS"),
        ({}, ["--broker", "mtgox"], "--broker: unknown broker 'mtgox'"),
    ],
)
def test_wrong_settings_end_it_with_exit_code_2_and_their_name(
    tmp_path: Path, environment: dict[str, str], arguments: list[str], named: str
) -> None:
    """The process ends before it connects to anything, and the text does not repeat secrets."""
    right = {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nija",
        "KRAKEN_MASTER_API_KEY": "c29tZSBrZXk=",
        "KRAKEN_MASTER_API_SECRET": "c29tZSBzZWNyZXQ=",
    }
    log = tmp_path / "log"
    process = start("services.master_trader.app", arguments or ["--broker", "kraken"], log, {**right, **environment})
    try:
        assert process.wait(20) == 2
    finally:
        process.kill()
        process.wait()
    text = log.read_text()
    assert named in text
    assert "Traceback" not in text
    assert "not base64!" not in text
