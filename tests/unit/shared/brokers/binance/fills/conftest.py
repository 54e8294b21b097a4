"""Provides the history of a Binance account that trades, and shortens the waits of the search for fills."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.binance import fill_search
from shared.brokers.binance.account import BinanceAccount
from tests.support.recording_server import Recorded, RecordingServer


class Exchange:
    """The history of a Binance account, in which balances and trades agree to the last digit."""

    def __init__(self, server: RecordingServer, **balances: str) -> None:
        self.server = server
        self.balances = {currency: Decimal(amount) for currency, amount in balances.items()}
        self.trades: dict[str, list[dict[str, Any]]] = {}
        self.hidden: set[int] = set()
        self.most_on_a_page = 1_000
        self.quote_sized: set[int] = set()
        self.next_id = 100
        server.answers |= {"GET account": self.account, "GET myTrades": self.my_trades, "GET order": self.order}

    def trade(
        self, base: str, quote: str, side: str, quantity: str, price: str, *, fee_in: str = "", **more: Any
    ) -> dict[str, Any]:
        """Trade with a fee of 0.1% of what is received, or of 0.001 in the currency `fee_in`."""
        sign = 1 if side == "buy" else -1
        amount = Decimal(quantity)
        cost = amount * Decimal(price)
        fee_currency = fee_in or (base if side == "buy" else quote)
        fee = Decimal("0.001") if fee_in else (amount if side == "buy" else cost) / 1_000
        for currency, change in ((base, sign * amount), (quote, -sign * cost), (fee_currency, -fee)):
            self.balances[currency] = self.balances.get(currency, Decimal(0)) + change
        self.next_id += 1
        done = {
            "symbol": base + quote,
            "id": self.next_id,
            "orderId": self.next_id * 10,
            "price": price,
            "qty": quantity,
            "quoteQty": str(cost),
            "commission": str(fee),
            "commissionAsset": fee_currency,
            "time": milliseconds(datetime.now(UTC)),
            "isBuyer": side == "buy",
            **more,
        }
        self.trades.setdefault(base + quote, []).append(done)
        return done

    def account(self, _: Recorded) -> Any:
        return {
            "balances": [
                {"asset": currency, "free": str(total), "locked": "0"} for currency, total in self.balances.items()
            ]
        }

    def my_trades(self, request: Recorded) -> Any:
        trades = [trade for trade in self.trades.get(request.fields["symbol"], []) if trade["id"] not in self.hidden]
        limit = min(int(request.fields.get("limit", "500")), self.most_on_a_page)
        if "fromId" in request.fields:
            return [trade for trade in trades if trade["id"] >= int(request.fields["fromId"])][:limit]
        if "startTime" in request.fields:
            end = int(request.fields.get("endTime", str(1 << 62)))
            return [trade for trade in trades if int(request.fields["startTime"]) <= trade["time"] <= end][:limit]
        return trades[-limit:]

    def order(self, request: Recorded) -> Any:
        order_id = int(request.fields["orderId"])
        in_quote = "100.0" if order_id in self.quote_sized else "0.00000000"
        return {"orderId": order_id, "symbol": request.fields["symbol"], "origQuoteOrderQty": in_quote}

    def asked(self) -> Counter[str]:
        """How often the trades of each symbol were requested since the last call."""
        counted = Counter(request.fields["symbol"] for request in self.server.sent_to("GET myTrades"))
        self.server.requests.clear()
        return counted


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000)


@pytest.fixture
def exchange(binance: RecordingServer, account: BinanceAccount) -> Exchange:
    del account
    return Exchange(binance, USDT="10000", BTC="1")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the waits to zero: a difference in the balances is searched at the next call."""
    monkeypatch.setattr(fill_search, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(fill_search, "HOT_SECONDS", 0.0)
