"""Reads what the strategy has on an account: its open positions, with their newest scores, and its closed trades."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from shared.domain.capital.facts import ClosedTrade, HeldPosition
from shared.domain.capital.kelly import recent_trades
from shared.domain.capital.own_positions import with_own_positions
from shared.persistence.stored_traders import StoredPosition
from shared.persistence.traders import TraderStore
from shared.queries.capital.accounts import CapitalAccount
from shared.queries.capital.sources import CapitalSources


@dataclass(frozen=True, slots=True)
class OwnPart:
    """An account in which the positions of the strategy are marked, and the trades that count for its odds."""

    account: CapitalAccount
    trades: tuple[ClosedTrade, ...]


def read_own_part(sources: CapitalSources, account: CapitalAccount) -> OwnPart:
    """Return what the strategy has on an account that was read. Blocks. Raises DatabaseUnavailable."""
    books = TraderStore(sources.connections.engine).of(account.name.broker, account.name.account)
    positions, trades = books.open_positions(), books.closed_trades()
    scores = books.newest_scores([each.symbol for each in positions]) if positions else {}
    prices = {each.instrument.base: each.price for each in account.facts.positions}
    own = [_held(each, prices, scores.get(each.symbol)) for each in positions]
    reading = replace(account.reading, account=with_own_positions(account.facts, own))
    return OwnPart(replace(account, reading=reading), recent_trades(trades, sources.now()))


def _held(stored: StoredPosition, prices: Mapping[str, Decimal | None], score: int | None) -> HeldPosition:
    position = stored.position
    return HeldPosition(
        instrument=position.instrument,
        quantity=position.quantity,
        # A position that the last reading does not show yet was bought a moment ago.
        price=prices.get(position.instrument.base, position.average_price),
        entry_price=position.average_price,
        opened_by_nija=True,
        score=None if score is None else Decimal(score),
    )
