"""Tests the paper Kraken as a process that is killed, stopped or started with wrong options."""

import asyncio
import signal
import socket
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import pytest

DEADLINE_SECONDS = 20
HEADER = "timestamp_utc,open,high,low,close,quote_volume"


async def test_a_killed_broker_comes_back_with_everything(tmp_path: Path, run_paper: Any, connect: Any) -> None:
    """kill -9 in the middle of orders: every acknowledged order, balance, key and nonce is there again."""
    with run_paper(tmp_path, "--state", str(tmp_path / "state")) as paper:
        name, keys = paper.account({"USD": "100000", "BTC": "1"})
        client = connect(paper, keys[0])
        await client.load_markets()
        resting = await client.create_order("BTC/USD", "limit", "sell", "0.1", "90000")
        acknowledged: list[str] = []

        async def trade() -> None:
            while True:
                acknowledged.append((await client.create_order("BTC/USD", "market", "buy", "0.001"))["id"])

        trading = asyncio.create_task(trade())
        await paper.wait_for(lambda: len(acknowledged) >= 50)
        paper.stop(signal.SIGKILL)
        with pytest.raises(ccxt.NetworkError):
            await trading
        paper.start()
        logged = [order["txid"] for order in paper.orders(name)]
        assert logged[: len(acknowledged) + 1] == [resting["id"], *acknowledged]
        assert len(logged) <= len(acknowledged) + 2
        shown = paper.call("GET", f"/paper/accounts/{name}")
        filled = sum(Decimal(order["filled"]) for order in paper.orders(name))
        assert Decimal(shown["balances"]["BTC"]["total"]) == 1 + filled
        assert shown["balances"]["BTC"]["hold"] == "0.1"
        # The idle connections of the first client ended with the killed process.
        client = connect(paper, keys[0])
        (order,) = await client.fetch_open_orders()
        assert order["id"] == resting["id"]
        client.incrementing_nonce = lambda: 5
        with pytest.raises(ccxt.InvalidNonce):
            await client.fetch_balance()


async def test_rate_limits_are_in_force_unless_they_are_lifted(tmp_path: Path, run_paper: Any, connect: Any) -> None:
    """Fifteen reads in a burst pass, the next do not; another key has its own counter."""
    with run_paper(tmp_path) as paper:
        _, keys = paper.account({"USD": "1000"}, keys=2)
        client = connect(paper, keys[0])
        for _ in range(15):
            await client.fetch_balance()
        bursts = await asyncio.gather(*(client.fetch_balance() for _ in range(20)), return_exceptions=True)
        assert any(isinstance(answer, ccxt.DDoSProtection) for answer in bursts)
        await connect(paper, keys[1]).fetch_balance()
    lifted = tmp_path / "lifted"
    lifted.mkdir()
    with run_paper(lifted, "--no-rate-limits") as paper:
        client = connect(paper, paper.account({"USD": "1000"})[1][0])
        for _ in range(40):
            await client.fetch_balance()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("time,open\n", f"must be: {HEADER}"),
        (
            f"{HEADER}\n2022-01-01T00:00:00Z,1,1,1,1,1\n2022-01-01T00:02:00Z,1,1,1,1,1\n",
            "row 3: minute 2022-01-01T00:01:00Z is missing",
        ),
    ],
)
def test_a_bad_candle_file_ends_with_exit_code_2(tmp_path: Path, spawn_paper: Any, content: str, expected: str) -> None:
    """The reason is on stderr, nothing listens."""
    path = tmp_path / "candles.csv"
    path.write_text(content)
    process = spawn_paper("--candles", str(path))
    _, error = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 2
    assert expected in error
    assert "Traceback" not in error


def test_a_port_in_use_and_a_state_file_of_another_ends_with_exit_code_2(tmp_path: Path, spawn_paper: Any) -> None:
    """The option is named and what would be right is said."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = spawn_paper("--port", str(taken.getsockname()[1]))
        _, error = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, "--port" in error, "Traceback" in error) == (2, True, False)
    (tmp_path / "state").write_text('[["start",1,"okx",5]]\n')
    process = spawn_paper("--state", str(tmp_path / "state"))
    _, error = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, "another broker" in error) == (2, True)


def test_sigterm_ends_it_with_exit_code_0(tmp_path: Path, run_paper: Any) -> None:
    """Also while a request hangs on a fault."""
    with run_paper(tmp_path) as paper:
        paper.call("POST", "/paper/faults", {"kind": "hang"})
        with socket.create_connection(("127.0.0.1", paper.port)) as connection:
            connection.sendall(b"GET /0/public/Time HTTP/1.1\r\nHost: x\r\n\r\n")
            until = time.monotonic() + DEADLINE_SECONDS
            while paper.call("GET", "/paper/faults")["faults"][0]["applied"] == 0:
                assert time.monotonic() < until
            assert paper.stop() == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--port", "70000"), "--port must be from 0"),
        (("--candle-seconds", "0"), "--candle-seconds must be from 0.001"),
        (("--port-file", "/nowhere/port"), "--port-file /nowhere/port: cannot be written: No such file"),
        (("--state", "/nowhere/state"), "--state /nowhere/state: cannot be opened for writing: No such file"),
        (("--candles", "/nowhere/candles.csv"), "/nowhere/candles.csv cannot be read: No such file"),
    ],
)
def test_an_option_that_cannot_be_followed_is_named(spawn_paper: Any, options: tuple[str, ...], expected: str) -> None:
    """Exit code 2 and one line that says what would be right."""
    process = spawn_paper(*options)
    _, error = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 2
    assert expected in error
    assert "Traceback" not in error
