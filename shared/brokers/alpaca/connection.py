"""Connects one process to Alpaca, and provides instruments, accounts and prices.

Alpaca shows its list of assets to key holders only. The list is read with the key that was lent before `open`.
Without such a key it is read in the background with the first account's key that Alpaca accepts. Until then, and on
servers without such a list, the well-known coins and stocks are listed. Their ticks and lots are assumed, so opens wait
until the list is read. No account's request is ever sent with another account's key. Only data that is the same for all
accounts (assets, prices of stocks) is requested with the lent or the first key.
"""

import asyncio
import copy
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from time import monotonic
from typing import Any, TypeVar

import structlog
from alpaca.common.enums import BaseURL
from alpaca.trading.client import TradingClient

from shared.brokers.alpaca.account import AlpacaAccount
from shared.brokers.alpaca.errors import NoSuchPath, NotFound
from shared.brokers.alpaca.fees import FIRST_TIER, TIERS, FeeTier
from shared.brokers.alpaca.hours import TradingHours
from shared.brokers.alpaca.market_data import AlpacaMarketReader
from shared.brokers.alpaca.places import Places
from shared.brokers.alpaca.prices import PriceNames
from shared.brokers.alpaca.profile import PROFILE
from shared.brokers.alpaca.replies import last_prices
from shared.brokers.alpaca.sending import Call, Sender
from shared.brokers.alpaca.symbols import AlpacaSymbols, known_assets
from shared.brokers.alpaca.transport import Transport
from shared.brokers.clock import BrokerClock
from shared.brokers.errors import BrokerError, KeyRefused, NotSent, OutcomeUnknown, Rejected, Throttled
from shared.brokers.limits import Budget
from shared.brokers.port.account import BrokerAccount
from shared.domain.accounts.credentials import Credentials, key_hash, malformed
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol

PLACES = 64
"""Requests that may run at the same time. One drain of the queue serves some dozens of followers at once."""
ASSETS_RETRY_SECONDS = 1.0
"""When the list of assets is requested again after trouble. Opens wait for it."""
LISTED_WITHIN_SECONDS = 2.0
"""How long an order waits in place for the list. It is shorter than the validity of an order, so that exits are sent."""
NO_ASSETS_RETRY_SECONDS = 60.0
"""The same after the server has answered that it has no list."""
REFUSED_PRICES_SECONDS = 60.0
"""How long no prices are requested after Alpaca refused the key."""
NO_SUBSCRIPTION = "subscription does not permit"
FREE_FEED = "iex"
"""The one exchange whose current data Alpaca shows without a subscription. Its volumes cover that exchange only."""

_ASSETS = Call("GET", "/assets", {"status": "active"})

log = structlog.get_logger()

_Read = TypeVar("_Read")


class AlpacaConnection:
    """A `BrokerConnection` to Alpaca, or to a server that speaks Alpaca's API. Belongs to one event loop."""

    broker = Broker.ALPACA
    lookup_margin_seconds = 5.0

    def __init__(self, *, base_url: str | None, proxy: str | None, request_timeout_seconds: float) -> None:
        """`base_url`: scheme and host, perhaps with a path, before `/v2`; None means Alpaca itself, live or paper."""
        # No request is under way for longer than this. A server may still hold one, but the id prevents a duplicate.
        self.request_validity_seconds = request_timeout_seconds
        self.clock = BrokerClock()
        self.budget: Budget | None = None
        """The limit on requests to the broker; set before `open`, if at all."""
        self._base_url = base_url.rstrip("/").removesuffix("/v2") if base_url else None
        self._proxy = proxy
        self._request_timeout_seconds = request_timeout_seconds
        self._transport: Transport | None = None
        self._places: Places | None = None
        self._sender: Sender | None = None
        self._template: TradingClient | None = None
        self._lent: TradingClient | None = None
        self._lent_credentials: Credentials | None = None
        self._loading: asyncio.Task[None] | None = None
        self._load_due_seconds: float | None = None
        """When the list of assets is to be requested. None: it was read."""
        self._is_list_missing = False
        """Whether the list of assets is still to be read. A server that has no list is not asked before each open."""
        self._list_refusals: dict[str, str] = {}
        """By hash of the key, why Alpaca did not show the list to it. Empty once the list was read."""
        self._tiers: dict[str, FeeTier] = {}
        self._stock_feed: dict[str, str] = {}
        self._refused_until_seconds: dict[str, float] = {}
        """Until when no prices are requested under a path, because Alpaca refused the key."""
        self._refused_names: set[str] = set()
        """Names whose prices Alpaca refuses. They are tried again with the next list of assets."""
        self.symbols = AlpacaSymbols([])
        self.hours: TradingHours | None = None
        """The trading hours of stocks, as an account has read them last."""

    def lend_key(self, credentials: Credentials) -> None:
        """Let `open` read the list of assets with this key."""
        self._lent_credentials = credentials

    async def open(self) -> None:
        """Load the list of assets, if Alpaca shows it. Raises BrokerError when Alpaca cannot be reached."""
        if self._sender is not None:
            return
        self._loop = asyncio.get_running_loop()
        transport = Transport(proxy=self._proxy, timeout_seconds=self._request_timeout_seconds, connections=PLACES)
        transport.clock = self.clock
        self._transport, self._places = transport, Places(PLACES, "alpaca")
        self._sender = Sender(transport, self._places, self._request_timeout_seconds)
        self._template = _template(transport)
        if self._lent_credentials is not None:
            self._lent = self._client(self._lent_credentials)
        try:
            await self._load_assets(self._lent or self._keyless())
        except (Rejected, KeyRefused, NoSuchPath) as error:
            # The server answers, but does not show the list without a valid key, or does not serve this path.
            if isinstance(error, KeyRefused):
                self._lent = None
            self.symbols = AlpacaSymbols(known_assets())
            self._load_due_seconds, self._is_list_missing = 0.0, True
        except BaseException:
            await self.close()
            raise

    async def reload(self) -> None:
        """Load the list of assets again. On BrokerError the old list stays in use."""
        if self._lent is None and self._lent_credentials is not None:
            self._lent = self._client(self._lent_credentials)
        client = self._lent or self._keyless()
        try:
            await self._load_assets(client)
        except KeyRefused:
            # The next account's key is lent instead.
            if self._lent is client:
                self._lent = None
            raise

    async def close(self) -> None:
        """Close the connections; a second call does nothing."""
        transport, places, loading = self._transport, self._places, self._loading
        self._transport = self._places = self._sender = self._template = self._lent = self._loading = None
        if loading is not None:
            loading.cancel()
        if places is not None:
            places.close()
        if transport is not None:
            transport.close()

    def instruments(self) -> Mapping[Symbol, Instrument]:
        return self.symbols.instruments

    def account(self, credentials: Credentials) -> BrokerAccount:
        client = self._client(credentials)
        wrong = malformed(PROFILE.keys, credentials) or ""
        if not wrong and not all(
            secret.get_secret_value().isprintable() for secret in (credentials.api_key, credentials.api_secret)
        ):
            wrong = "the API key contains characters that no key has; copy it again"
        if not wrong:
            self._load_with(client)
        budget = None if self.budget is None else self.budget.of_key(key_hash(credentials.api_key))
        return AlpacaAccount(client, self._opened(), self, wrong, budget)

    @property
    def market_data(self) -> AlpacaMarketReader:
        return AlpacaMarketReader(self.symbols, self._ask_market)

    async def price_list(
        self,
        needed: Collection[str] = (),
        priority: Priority = Priority.FOREGROUND,  # noqa: ARG002  # the data API has a limit of its own
    ) -> dict[Symbol, Decimal]:
        """Last prices of these assets, by one request for coins and one for stocks. Stocks need a key."""
        names = PriceNames.of(needed, self.symbols)
        coins = await self._prices_unless_refused(self._keyless(), "/crypto/us/latest/trades", "v1beta3", names.coins)
        stocks = await self._prices_unless_refused(self._lent, "/stocks/trades/latest", "v2", names.stocks)
        return coins | stocks

    async def _prices_unless_refused(
        self, client: TradingClient | None, path: str, version: str, names: Mapping[str, Symbol]
    ) -> dict[Symbol, Decimal]:
        """The prices of one kind of assets. After a refusal there are none for a minute, and the others still have some."""
        if not names or client is None or monotonic() < self._refused_until_seconds.get(path, 0.0):
            return {}
        try:
            return await self._last_prices(client, path, version, names)
        except KeyRefused as error:
            log.warning("prices not read", broker="alpaca", path=path, error=str(error))
            self._refused_until_seconds[path] = monotonic() + REFUSED_PRICES_SECONDS
            return {}

    def tier(self, client: TradingClient) -> FeeTier:
        """The fee tier of the account with this client's key; the first tier until Alpaca has reported one."""
        return self._tiers.get(_key_of(client), TIERS[FIRST_TIER])

    def learn_tier(self, client: TradingClient, tier: int | None) -> None:
        rates = TIERS.get(tier) if tier is not None and tier != FIRST_TIER else None
        if rates is not None:
            self._tiers[_key_of(client)] = rates
        elif tier is not None:
            self._tiers.pop(_key_of(client), None)

    async def listed(self, client: TradingClient) -> None:
        """Read the list of assets with this client's key if that is due. Wait a little for a reading under way."""
        self._load_with(client)
        if self._loading is not None:
            await asyncio.wait({self._loading}, timeout=LISTED_WITHIN_SECONDS)

    def check_listed(self, client: TradingClient) -> None:
        """Raises Throttled while the list of assets is still to be read, or KeyRefused if this client's key cannot."""
        if self._is_list_missing and (refusal := self._list_refusals.get(_key_of(client))):
            raise KeyRefused(refusal)
        if self._is_list_missing:
            raise Throttled("not sent: the list of assets is not read yet", ASSETS_RETRY_SECONDS)

    async def _load_assets(self, client: TradingClient, budget: Budget | None = None) -> None:
        # The reply is parsed in the thread as well, because it lists ten thousand stocks.
        symbols = await self._send(client, _ASSETS, lambda reply: AlpacaSymbols(_list_of_objects(reply)), budget)
        if not symbols.instruments:
            raise NotFound("Alpaca lists nothing that can be read")
        self.symbols = symbols
        self._refused_names.clear()
        self._load_due_seconds, self._is_list_missing = None, False
        self._list_refusals.clear()

    def _load_with(self, client: TradingClient) -> None:
        """Start reading the list of assets with this key, unless the list has been loaded already."""
        if self._lent is None:
            self._lent = client
        due_seconds = self._load_due_seconds
        is_loading = self._loading is not None and not self._loading.done()
        if is_loading or due_seconds is None or monotonic() < due_seconds:
            return
        self._load_due_seconds = monotonic() + ASSETS_RETRY_SECONDS
        self._loading = self._loop.create_task(self._load_later(client))

    async def _load_later(self, client: TradingClient) -> None:
        key = _key_of(client)
        self._list_refusals.pop(key, None)
        try:
            await self._load_assets(client, None if self.budget is None else self.budget.of_key(key))
        except (NotFound, NoSuchPath) as error:
            self._load_due_seconds, self._is_list_missing = monotonic() + NO_ASSETS_RETRY_SECONDS, False
            log.warning("no list of assets; the well-known ones serve", broker="alpaca", error=str(error))
        except BrokerError as error:
            if isinstance(error, KeyRefused):
                self._list_refusals[key] = str(error)
                if self._lent is client:
                    self._lent = None
            log.warning("list of assets not read; opens wait for it", broker="alpaca", error=str(error))

    async def _last_prices(
        self, client: TradingClient, path: str, version: str, names: Mapping[str, Symbol]
    ) -> dict[Symbol, Decimal]:
        asked = [name for name in names if name not in self._refused_names]
        if not asked:
            return {}
        data_url = self._base_url or BaseURL.DATA.value
        call = Call("GET", path, {"symbols": ",".join(asked)}, base_url=data_url, api_version=version)
        try:
            found = await self._send(client, call, last_prices)
        except NoSuchPath:
            return {}
        except Rejected:
            # One of the names is refused, and Alpaca then returns no price at all. Find it by halves.
            if len(asked) == 1:
                self._refused_names.add(asked[0])
                return {}
            half = len(asked) // 2
            parts = ({name: names[name] for name in part} for part in (asked[:half], asked[half:]))
            return {k: v for part in parts for k, v in (await self._last_prices(client, path, version, part)).items()}
        return {names[name]: price for name, price in found.items() if name in names}

    async def _ask_market(
        self, path: str, parameters: dict[str, str], read: Callable[[Any], _Read], *, is_crypto: bool
    ) -> _Read:
        """Send a request to the data API. It shows coins without a key, and stocks to key holders only."""
        data_url = self._base_url or BaseURL.DATA.value
        if is_crypto:
            return await self._send(
                self._keyless(), Call("GET", path, parameters, base_url=data_url, api_version="v1beta3"), read
            )
        client = self._lent
        if client is None:
            raise NotSent("Alpaca shows stocks to key holders only, and no account's key is known yet")
        try:
            call = Call("GET", path, parameters | self._stock_feed, base_url=data_url, api_version="v2")
            return await self._send(client, call, read)
        except KeyRefused as error:
            if self._lent is client:
                self._lent = None
            raise OutcomeUnknown(f"the key was refused by which stocks are read: {error}") from error
        except Rejected as error:
            if NO_SUBSCRIPTION not in str(error) or self._stock_feed:
                raise
            self._stock_feed = {"feed": FREE_FEED}
            return await self._ask_market(path, parameters, read, is_crypto=is_crypto)

    async def _send(
        self, client: TradingClient, call: Call, read: Callable[[Any], _Read], budget: Budget | None = None
    ) -> _Read:
        return await self._opened().send(client, call, read, budget)

    def _client(self, credentials: Credentials) -> TradingClient:
        """A client with this key. It shares connections with all other clients, and nothing that differs."""
        client = self._keyless()
        client._api_key = credentials.api_key.get_secret_value()  # noqa: SLF001 - a new client would cost a session
        client._secret_key = credentials.api_secret.get_secret_value()  # noqa: SLF001 - the same
        client._sandbox = credentials.paper  # noqa: SLF001 - the same
        if self._base_url is None and credentials.paper:
            client._base_url = BaseURL.TRADING_PAPER.value  # noqa: SLF001 - the same
        return client

    def _keyless(self) -> TradingClient:
        if self._template is None:
            raise RuntimeError("the connection to Alpaca is not open")
        client = copy.copy(self._template)
        client._base_url = self._base_url or BaseURL.TRADING_LIVE.value  # noqa: SLF001 - see `_client`
        return client

    def _opened(self) -> Sender:
        if self._sender is None:
            raise RuntimeError("the connection to Alpaca is not open")
        return self._sender


def _key_of(client: TradingClient) -> str:
    return key_hash(client._api_key or "")  # noqa: SLF001 - alpaca-py has no other name for it


def _template(transport: Transport) -> TradingClient:
    """An alpaca-py client that never sends a request twice and uses our connections."""
    client = TradingClient("none", "none", raw_data=True)
    client._session.close()  # noqa: SLF001 - alpaca-py offers no other way to set these
    client._session = transport  # type: ignore[assignment]  # noqa: SLF001 - it uses `request` and nothing else
    client._retry = 0  # noqa: SLF001 - it would send an order again on 429 and 504
    client._api_key = client._secret_key = None  # noqa: SLF001 - headers without a value are not sent
    return client


def _list_of_objects(reply: Any) -> list[dict[str, Any]]:
    if not isinstance(reply, list):
        raise TypeError(f"the list of assets is a {type(reply).__name__}")
    return reply
