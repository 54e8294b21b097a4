"""The paper brokers refuse what the real ones refuse: in the same words, for the same reasons, and for as long."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Any

import ccxt.async_support as ccxt
import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient

from services.paper_broker.dialect import dialect_of
from shared.brokers.errors import InvalidNonce, KeyRefused, Rejected
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker
from tests.contract.brokers import Terms
from tests.contract.conftest import Trader
from tests.contract.paper import PaperServer
from tests.contract.person import a_person

ODD_WALLETS = {"DOT28.S": "3", "XBT.M": "0.25", "ETH2": "1.5", "LDUSDT": "900", "XICNX": "12"}
"""Staked, wrapped and delisted names. None of them has a price."""


def _request(terms: Terms, client: Any) -> Callable[[], Awaitable[Any]]:
    """One request to the broker, through its ordinary client library."""
    call, *parameters = terms.pressed_call
    if isinstance(client, TradingClient):
        return partial(asyncio.to_thread, getattr(client, call))
    asked: Callable[[], Awaitable[Any]] = partial(getattr(client, call), *parameters)
    return asked


async def test_a_client_without_a_limiter_is_refused_and_then_banned(
    terms: Terms, paper: PaperServer, two_keys: tuple[str, Credentials, Credentials]
) -> None:
    """It is the broker's ordinary library, unmodified and without nija's limiter."""
    most, text = terms.requests_before_refusal, terms.too_many_text
    async with a_person(terms.broker, paper.url, two_keys[2]) as person:
        client = person._client
        if isinstance(client, TradingClient):
            client._retry_wait = 0
        request = _request(terms, client)
        for _ in range(most):
            await request()
        refusals = []
        # The counters decay while the requests are sent, so a few more may pass before the first refusal.
        for _ in range(14 if terms.ban_text else 4):
            try:
                await request()
            except (ccxt.BaseError, APIError) as error:
                refusals.append(str(error))
        assert refusals
        assert text in refusals[0]
        if terms.ban_text:
            assert terms.ban_text in refusals[-1]
    paper.pause()


async def test_a_market_in_a_mode_refuses_orders_in_the_brokers_words(trader: Trader, terms: Terms) -> None:
    """nija takes each of them for a final refusal of this order. Afterwards the market accepts the same order."""
    modes = dialect_of(terms.broker)(enforces_rate_limits=True).market_modes
    assert set(terms.mode_texts) == set(modes)
    # Alpaca's list of assets leaves out a halted one. So it is read before, with the first order.
    await trader.account.place(trader.order())
    for mode in sorted(modes):
        trader.paper.ask("POST", "market", {"symbol": terms.symbol, "mode": mode})
        try:
            with pytest.raises(Rejected) as raised:
                await trader.account.place(trader.order())
            assert terms.mode_texts[mode] in str(raised.value)
        finally:
            trader.paper.ask("POST", "market", {"symbol": terms.symbol, "mode": "open"})
    await trader.account.place(trader.order())


async def test_a_market_for_limit_orders_only_accepts_them(trader: Trader, terms: Terms) -> None:
    """A person can still trade there, and a marketable limit order is executed."""
    if "limit_only" not in terms.mode_texts:
        pytest.skip("this broker has no such mode")
    trader.paper.ask("POST", "market", {"symbol": terms.symbol, "mode": "limit_only"})
    try:
        placed = await trader.account.place(trader.limit("50500"))
        assert (await trader.until_final(placed)).filled_quantity > 0
    finally:
        trader.paper.ask("POST", "market", {"symbol": terms.symbol, "mode": "open"})


async def test_a_market_order_above_the_largest_one_is_rejected(trader: Trader, terms: Terms) -> None:
    """Kraken has no such limit. The others reject the order, and one of half the size is executed."""
    if not dialect_of(terms.broker)(enforces_rate_limits=True).has_largest_market_order:
        pytest.skip("this broker limits no market order")
    trader.paper.ask("POST", "market", {"symbol": terms.symbol, "largest_market_order": "0.05"})
    try:
        with pytest.raises(Rejected):
            await trader.account.place(trader.order("0.06", Side.SELL))
        await trader.account.place(trader.order("0.03", Side.SELL))
    finally:
        trader.paper.ask("POST", "market", {"symbol": terms.symbol, "largest_market_order": None})


async def test_a_key_that_is_bound_to_another_address_is_refused(trader: Trader) -> None:
    """It works again when the list of addresses has this one."""
    trader.paper.ask("POST", f"accounts/{trader.name}/access", {"addresses": ["10.0.0.1"]})
    with pytest.raises(KeyRefused):
        await trader.account.balances()
    trader.paper.ask("POST", f"accounts/{trader.name}/access", {"addresses": ["10.0.0.1", "127.0.0.1"]})
    assert await trader.account.balances()


async def test_a_key_that_loses_its_permission_to_trade_is_refused(trader: Trader, terms: Terms) -> None:
    """It can still read, and trades again when it has the permission."""
    path = f"accounts/{trader.name}/access"
    trader.paper.ask("POST", path, {"permissions": list(terms.reading_permissions)})
    with pytest.raises(KeyRefused):
        await trader.account.place(trader.order())
    assert await trader.account.balances()
    trader.paper.ask("POST", path, {"permissions": list(terms.trading_permissions)})
    await trader.account.place(trader.order())


async def test_wallets_hold_staked_wrapped_and_delisted_names(trader: Trader, terms: Terms) -> None:
    """They are shown as the broker shows them. Alpaca has no such names."""
    if not terms.has_odd_wallets:
        pytest.skip("this broker has no staked or wrapped coins")
    before = await trader.account.balances()
    trader.paper.ask("POST", f"accounts/{trader.name}/balances", {"set": ODD_WALLETS})
    shown = await trader.account.balances()
    # nija may show names of one asset as one balance, so the sums are compared.
    gained = sum(each.total for each in shown.values()) - sum(each.total for each in before.values())
    assert gained == sum(map(Decimal, ODD_WALLETS.values()))


async def test_a_clock_that_differs_refuses_the_request_before_anything_happens(trader: Trader, terms: Terms) -> None:
    """Where requests carry a time. At Kraken, a nonce of another tool has the same effect. Then it works again."""
    if not terms.checks_nonce_or_clock:
        pytest.skip("requests carry neither a nonce nor a time")
    if terms.broker is Broker.KRAKEN:
        trader.paper.ask("POST", f"accounts/{trader.name}/access", {"last_nonce": 2**63})
        with pytest.raises(InvalidNonce):
            await trader.account.place(trader.order())
        trader.paper.ask("POST", f"accounts/{trader.name}/access", {"last_nonce": 0})
    else:
        trader.paper.ask("POST", "clock", {"offset_seconds": -200})
        try:
            with pytest.raises(InvalidNonce):
                await trader.account.place(trader.order())
        finally:
            trader.paper.ask("POST", "clock", {"offset_seconds": 0})
        # nija has learnt the wrong clock. A refusal shows the right one.
        with contextlib.suppress(InvalidNonce):
            await trader.account.balances()
    assert trader.logged() == []
    await trader.account.place(trader.order())
