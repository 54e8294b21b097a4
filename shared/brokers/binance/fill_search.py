"""Finds all fills of an account from its balances and trades, because Binance lists trades for one symbol at a time.

Reading all symbols at every poll would use minutes of the address's request weight, so balances show where to search:

* The first call reads every pair that touches a held coin, likely ones first. Coins found in these fills are added.
  What was received in a fill is either still held or was spent in a later fill, so this reaches all fills.
* After that, nothing is read while balances do not change. When they change, likely pairs are read at once. As soon
  as the found fills explain the changes to the last digit, nothing is missing.
* A change may stay unexplained: a pair bought and sold between two polls leaves only a difference of dollars. Then
  every pair that touches the currency is searched, some at each call, within `SYMBOLS_A_SECOND`. A change that is
  still unexplained after all pairs were read and `WRITE_OFF_SECONDS` have passed was a deposit, a withdrawal or
  interest.

A fill that is found late is returned for `LATE_SECONDS`, even when it is older than the requested start.
"""

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic

from shared.brokers.binance.books import Books
from shared.brokers.binance.symbols import BinanceSymbols
from shared.domain.accounts.equity import DOLLARS
from shared.domain.fill import AccountFill
from shared.domain.symbol import Symbol

SYMBOLS_AT_ONCE = 40
SYMBOLS_A_SECOND = 3.0
"""A weight of 20 each: 3,600 of the 6,000 that an address has a minute."""
LIKELY_AT_MOST = 12
PATIENCE_SECONDS = 2.0
"""Trades may become visible a little after the balances have changed."""
HOT_SECONDS = 10.0
"""For how long after the first search likely pairs are read at every call. A trade that becomes visible late during
this time is already part of the first balances, so no change of balances points to it."""
LIKELY_SECONDS = 10.0
"""For how long after a change of balances likely pairs are read at every call. After that the search of all other
pairs uses the whole allowance, and the likely pairs are read once more at its end."""
REST_WAITS_SECONDS = 10.0
"""How long the pairs that no change of balances points to are left unread while every call finds a fill."""
CLOCKS_DIFFER = timedelta(seconds=2)
WRITE_OFF_SECONDS = 60.0
LATE_SECONDS = 3600.0
"""A returned fill is not yet a recorded fill: the reader's ledger may be unreachable for that long."""
OVERLAP = timedelta(minutes=5)
KEPT = timedelta(hours=1)
_FIRST_TRIES = 3

ReadTotals = Callable[[], Awaitable[Mapping[str, Decimal]]]
ReadFills = Callable[[Symbol, datetime, Container[str]], Awaitable[list[AccountFill]]]
"""Takes a canonical symbol, a start and the ids of known fills; returns all other fills since the start."""


class FillSearch:
    """What one process knows about an account's fills. When `read_*` raise BrokerError, the next call continues."""

    def __init__(self, symbols: BinanceSymbols, read_totals: ReadTotals, read_fills: ReadFills) -> None:
        self._symbols = symbols
        self._read_totals = read_totals
        self._read_fills = read_fills
        self._books: Books | None = None
        self._searched_from: datetime | None = None
        self._base_read_at: datetime | None = None
        self._explained_at: datetime | None = None
        """When the balances were last read that the found fills explain completely."""
        self._fills: dict[str, AccountFill] = {}
        self._late_until: dict[str, float] = {}
        self._hot_until: dict[Symbol, float] = {}
        self._pending: dict[Symbol, bool] = {}
        """Pairs still to read. True: for the first search; False: because balances changed."""
        self._searched_currencies: set[str] = set()
        self._allowance = float(SYMBOLS_AT_ONCE)
        self._allowed_at = self._rest_read_at = monotonic()
        self._listed = frozenset(symbols.instruments)
        self._unexplained: dict[str, Decimal] = {}
        self._unexplained_since = 0.0

    @property
    def is_searching(self) -> bool:
        """Whether older fills may still be found: pairs wait for the first search, or a change is not explained."""
        return any(self._pending.values()) or (self._books is not None and bool(self._books.unexplained))

    async def since(self, since: datetime) -> list[AccountFill]:
        """The account's fills at or after `since`, oldest first, including fills that were found late."""
        if self._books is None or self._searched_from is None or since < self._searched_from:
            books = await self._begin(since)
        else:
            books, known = self._books, len(self._fills)
            self._search_new_listings(books)
            await self._explain(books, since)
            if len(self._fills) > known and monotonic() - self._rest_read_at < REST_WAITS_SECONDS:
                # What was found does not wait for the search of the rest.
                self._hot_until = {symbol: until + REST_WAITS_SECONDS for symbol, until in self._still_hot().items()}
                return self._since(since)
            await self._read_hot(books, since)
        await self._search_pending(books, since)
        self._rest_read_at = monotonic()
        return self._since(since)

    async def _begin(self, since: datetime) -> Books:
        """Search the likely pairs between two readings of the balances.

        The readings must agree, so that the found fills are known to be part of the balances.
        """
        self._books = None
        totals = await self._read_totals()
        for _ in range(_FIRST_TRIES):
            books = Books(totals)
            self._pending, self._searched_currencies = {}, set()
            self._put_on_list(books.held() | DOLLARS, books, first=True)
            likely = list(self._pending)[:LIKELY_AT_MOST]
            for symbol in likely:
                await self._ask(symbol, since, since)
            read_at = datetime.now(UTC)
            totals = await self._read_totals()
            books.read(totals)
            if not books.unexplained:
                break
        books.write_off()
        for symbol in likely:
            del self._pending[symbol]
        for fill in self._fills.values():
            self._put_on_list(_currencies(fill), books, first=True)
        self._hot_until = dict.fromkeys(likely, monotonic() + HOT_SECONDS)
        self._books, self._searched_from, self._base_read_at = books, since, read_at
        self._explained_at = read_at
        return books

    async def _explain(self, books: Books, since: datetime) -> None:
        """Read the balances, and the likely pairs until the found fills explain them."""
        read_at = datetime.now(UTC)
        books.read(await self._read_totals())
        clock = monotonic()
        is_news = books.unexplained != self._unexplained or clock - self._unexplained_since < LIKELY_SECONDS
        for symbol in self._likely(books) if is_news or not self._pending else ():
            if not books.unexplained:
                break
            await self._take(books, symbol, self._overlapping(), since)
        if books.unexplained != self._unexplained:
            self._unexplained = dict(books.unexplained)
            self._unexplained_since = clock
            self._searched_currencies = set()
        if not books.unexplained:
            self._pending = {symbol: first for symbol, first in self._pending.items() if first}
        elif clock - self._unexplained_since >= PATIENCE_SECONDS:
            self._put_on_list(books.unexplained, books, first=False)
            if not self._pending and clock - self._unexplained_since > WRITE_OFF_SECONDS:
                books.write_off()
                self._unexplained = {}
        if not books.unexplained:
            self._explained_at = read_at

    def _search_new_listings(self, books: Books) -> None:
        """Queue the pairs that were listed since the markets were loaded. They may have been traded before that."""
        listed = frozenset(self._symbols.instruments)
        for symbol in sorted(listed - self._listed):
            if not books.held().isdisjoint(symbol.currencies) or symbol.quote in DOLLARS:
                self._pending[symbol] = True
        self._listed = listed

    async def _read_hot(self, books: Books, since: datetime) -> None:
        self._hot_until = self._still_hot()
        for symbol in self._hot_until:
            await self._take(books, symbol, self._overlapping(), since)

    def _still_hot(self) -> dict[Symbol, float]:
        clock = monotonic()
        return {symbol: until for symbol, until in self._hot_until.items() if until > clock}

    async def _search_pending(self, books: Books, since: datetime) -> None:
        clock = monotonic()
        earned = (clock - self._allowed_at) * SYMBOLS_A_SECOND
        self._allowance = min(self._allowance + earned, float(SYMBOLS_AT_ONCE))
        self._allowed_at = clock
        while self._pending and self._allowance >= 1:
            symbol, first = next(iter(self._pending.items()))
            start = self._searched_from if first and self._searched_from else self._overlapping()
            await self._take(books, symbol, start, since)
            self._pending.pop(symbol, None)

    async def _take(self, books: Books, symbol: Symbol, start: datetime, since: datetime) -> None:
        """Read a pair. Its fills either explain balances or lead to other coins that were traded."""
        for fill in await self._ask(symbol, start, since):
            base = self._base_read_at
            if (
                base is None
                or fill.executed_at >= base
                or (fill.executed_at >= base - CLOCKS_DIFFER and books.would_explain(fill))
            ):
                books.found(fill)
            else:
                # The fill is already part of the first reading of the balances.
                self._put_on_list(_currencies(fill), books, first=True)

    async def _ask(self, symbol: Symbol, start: datetime, since: datetime) -> list[AccountFill]:
        """Read a pair's fills and return the new ones."""
        self._allowance -= 1
        new = await self._read_fills(symbol, start, self._fills)
        for fill in new:
            self._fills[fill.fill_id] = fill
            if fill.executed_at < since:
                self._late_until[fill.fill_id] = monotonic() + LATE_SECONDS
        return new

    def _likely(self, books: Books) -> list[Symbol]:
        """Pairs whose two coins both changed, then pairs of a changed coin with dollars or with a held coin."""
        moved, held = books.unexplained.keys(), books.held()
        ranks: dict[Symbol, int] = {}
        for currency in moved:
            for symbol in self._symbols.touching(currency):
                base, quote = symbol.currencies
                if base in moved and quote in moved:
                    ranks[symbol] = 0
                elif base in moved and quote in DOLLARS:
                    ranks[symbol] = 1
                elif base in held and quote in moved:
                    ranks[symbol] = 2
        return sorted(ranks, key=lambda symbol: (ranks[symbol], symbol))[:LIKELY_AT_MOST]

    def _put_on_list(self, currencies: Iterable[str], books: Books, *, first: bool) -> None:
        """Queue all pairs that touch these currencies, likely ones first, once per currency."""
        held = books.held()
        ranks: dict[Symbol, int] = {}
        for currency in set(currencies) - self._searched_currencies:
            self._searched_currencies.add(currency)
            for symbol in self._symbols.touching(currency):
                base, quote = symbol.currencies
                ranks[symbol] = 0 if base in held and quote in held else 1 if base in held else 2
                ranks[symbol] += 0 if quote in DOLLARS else 3
        for symbol in sorted(ranks, key=lambda symbol: (ranks[symbol], symbol)):
            self._pending.setdefault(symbol, first)

    def _overlapping(self) -> datetime:
        """The start for reading pairs that were searched before. It overlaps, as trades may become visible late.

        It does not count from now, because Binance may have been unreachable for hours.
        """
        explained_at = self._explained_at or datetime.now(UTC)
        return max(self._searched_from or explained_at, explained_at - OVERLAP)

    def _since(self, since: datetime) -> list[AccountFill]:
        clock = monotonic()
        self._late_until = {fill_id: until for fill_id, until in self._late_until.items() if until > clock}
        horizon = since - KEPT
        # The start stays while pairs are still to be read from it.
        if self._searched_from is not None and horizon > self._searched_from + KEPT and not self.is_searching:
            # Older fills are kept for a while, so that a reader that steps back a little causes no whole new search.
            self._searched_from = horizon
            self._fills = {
                fill_id: fill
                for fill_id, fill in self._fills.items()
                if fill.executed_at >= horizon or fill_id in self._late_until
            }
        reported = [
            fill for fill in self._fills.values() if fill.executed_at >= since or fill.fill_id in self._late_until
        ]
        return sorted(reported, key=lambda fill: (fill.executed_at, int(fill.fill_id.rpartition("-")[2])))


def _currencies(fill: AccountFill) -> tuple[str, ...]:
    return (*fill.symbol.currencies, fill.fee_currency)
