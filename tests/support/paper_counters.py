"""Counts simulated requests with the counters of the paper brokers, which state the brokers' limits independently."""

from collections.abc import Callable
from typing import Any, Final

from services.paper_broker.alpaca.rate_limits import AlpacaRateCounters
from services.paper_broker.binance.rate_limits import BinanceRateCounters
from services.paper_broker.coinbase.rate_limits import CoinbaseRateCounters
from services.paper_broker.kraken.rate_limits import KrakenRateCounters
from services.paper_broker.okx.rate_limits import OkxRateCounters
from shared.domain.identity import Broker
from shared.exchange.accounts import Account, ApiKey

ADDRESS: Final = "10.0.0.1"
Count = Callable[[str, str, Any, int], None]
"""Count a request of a key: the key's name, `api METHOD path`, the parameters, microseconds. Raises when refused."""


class PaperCounters:
    """The counters of one paper broker. All keys send from one address, and each belongs to an account of its own."""

    def __init__(self, broker: Broker) -> None:
        self._keys: dict[str, ApiKey] = {}
        self.count: Count = {
            Broker.KRAKEN: self._kraken,
            Broker.COINBASE: self._coinbase,
            Broker.OKX: self._okx,
            Broker.BINANCE: self._binance,
            Broker.ALPACA: self._alpaca,
        }[broker]
        self._of_kraken, self._of_coinbase = KrakenRateCounters(), CoinbaseRateCounters()
        self._of_okx, self._of_binance, self._of_alpaca = OkxRateCounters(), BinanceRateCounters(), AlpacaRateCounters()

    def _key(self, name: str) -> ApiKey:
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = ApiKey(name, "", b"", Account(name), frozenset())
        return key

    def _kraken(self, name: str, request: str, parameters: Any, now: int) -> None:
        api, _, path = request.split()
        if api == "public":
            self._of_kraken.count_public(ADDRESS, now)
            return
        self._of_kraken.count_call(path, self._key(name), now)
        if path == "AddOrder":
            self._of_kraken.count_order(self._key(name).account, parameters["pair"], now)

    def _coinbase(self, name: str, request: str, parameters: Any, now: int) -> None:
        del parameters
        self._of_coinbase.count(None if request.startswith("public") else self._key(name), ADDRESS, now)

    def _okx(self, name: str, request: str, parameters: Any, now: int) -> None:
        api, method, path = request.split()
        if api == "public":
            self._of_okx.count_public(ADDRESS, path, parameters.get("instType", ""), now)
        elif method == "GET":
            self._of_okx.count_read(self._key(name), path, parameters.get("instId", ""), now)
        elif "cancel" in path:
            self._of_okx.count_cancels(self._key(name), [order["instId"] for order in parameters], now)
        else:
            self._of_okx.count_orders(self._key(name), [order["instId"] for order in parameters], now)

    def _binance(self, name: str, request: str, parameters: Any, now: int) -> None:
        api, method, path = request.split()
        self._of_binance.count_call(path if api == "public" else f"{method} {path}", parameters, ADDRESS, now)
        if f"{method} {path}" == "POST order":
            self._of_binance.count_order(self._key(name), now)

    def _alpaca(self, name: str, request: str, parameters: Any, now: int) -> None:
        del request, parameters
        self._of_alpaca.count(self._key(name), now)
