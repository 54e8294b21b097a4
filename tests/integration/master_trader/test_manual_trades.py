"""The trades of a person become fills in the right order, each with its equity and its fraction closed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from shared.domain.fill import Side
from tests.integration.master_trader.processes import KEYS, START, Bench, check_equity


async def test_manual_trades_become_fills_with_equity_and_fractions(bench: Bench) -> None:
    """Each fill has the right equity, traded position and closed fraction, and older fills are not published.

    The trades are a buy, a buy in two executions, two sales that close them, and a sale of coins held before.
    """
    await bench.trade(Side.BUY, "0.01")
    history = len(bench.paper.fills())
    bench.start_master()
    await bench.until_state("watching")
    fault = {"kind": "partial_fill", "fraction": "0.25", "seconds": 0.2, "count": 1, "endpoint": "AddOrder"}

    await bench.trade(Side.BUY, "0.2")
    bench.paper.ask("/paper/faults", fault)
    await bench.trade(Side.BUY, "0.2")

    async def executed() -> bool:
        return sum(Decimal(f["quantity"]) for f in bench.paper.fills()[history:]) == Decimal("0.4")

    await bench.until("executed", executed)
    await bench.trade(Side.SELL, "0.2")
    await bench.trade(Side.SELL, "0.2")
    await bench.trade(Side.SELL, "0.1")  # more than was bought: coins from before

    async def complete() -> bool:
        return len(await bench.published()) >= len(bench.paper.fills()) - history

    await bench.until("published everything", complete)
    fills, truth = await bench.published(), bench.paper.fills()
    assert [f.fill_id for f in fills] == [t["fill_id"] for t in truth[history:]]
    assert len({f.order_id for f in fills}) == 5 < len(fills)

    usd, btc, traded = Decimal(START["USD"]), Decimal(START["BTC"]), Decimal(0)
    by_id = {fill.fill_id: fill for fill in fills}
    for each in truth:
        price, quantity, cost, fee = (Decimal(each[name]) for name in ("price", "quantity", "cost", "fee"))
        sign = 1 if each["side"] == "buy" else -1
        fill = by_id.get(each["fill_id"])
        if fill is not None:
            check_equity(fill, usd + btc * price)
            assert (fill.price, fill.quantity, fill.cost, fill.fee) == (price, quantity, cost, fee)
            assert (fill.side.value, fill.symbol, fill.fee_currency) == (each["side"], "BTC/USD", "USD")
            assert fill.traded_position_before == traded
            closed = min(quantity, traded) if sign < 0 else Decimal(0)
            assert fill.fraction_closed == (closed / traded if traded else Decimal(0))
            traded += quantity if sign > 0 else -closed
            assert abs(fill.executed_at - datetime.fromtimestamp(each["executed_at"] / 1e6, UTC)) < timedelta(
                milliseconds=1
            )
            assert fill.executed_at <= fill.published_at <= datetime.now(UTC)
        usd -= sign * cost + fee
        btc += sign * quantity
    assert traded == 0
    assert fills[-1].fraction_closed == 0
    assert any(f.fraction_closed == 1 for f in fills)


async def test_a_purchase_that_becomes_visible_after_its_sale_is_published_before_it(bench: Bench) -> None:
    """The broker hides the purchase for a while. In the wrong order followers would keep what the master sold."""
    bench.start_master()
    await bench.until_state("watching")
    bench.paper.ask("/paper/faults", {"kind": "late_visibility", "seconds": 1.5, "count": 1, "endpoint": "AddOrder"})
    await bench.trade(Side.BUY, "0.1")
    await bench.trade(Side.SELL, "0.1")
    fills = await bench.until_all_published()
    assert [(fill.side, fill.fraction_closed) for fill in fills] == [(Side.BUY, 0), (Side.SELL, 1)]


async def test_status_and_instruments_are_there_for_the_others(bench: Bench) -> None:
    """Redis has the equity, the process, the time of the last poll and every instrument of the broker."""
    process = bench.start_master()
    await bench.until_state("watching")
    status = await bench.status()
    assert Decimal(status["cash"]) == Decimal(100_000)
    assert abs(Decimal(status["equity"]) - Decimal(125_000)) < 100
    assert status["process"].split(":")[1] == str(process.pid)
    assert datetime.now(UTC) - datetime.fromisoformat(status["last_poll_at"]) < timedelta(seconds=30)
    listed = await bench.redis.hkeys(KEYS.instruments)
    assert {symbol.decode() for symbol in listed} == set(bench.person.instruments())
