"""Answers what needs market data: leverage, Kelly size, liquidity, risk parity and opportunity.

Missing market data lead to an answer that says what is missing: a low confidence, a size of 0, or no share.
"""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from shared.domain.amounts import ONE, ZERO
from shared.domain.capital.arithmetic import cut_cents
from shared.domain.capital.drawdown import LIMITS, DrawdownState
from shared.domain.capital.execution import method_for
from shared.domain.capital.facts import AccountFacts, ClosedTrade, RequestedOdds
from shared.domain.capital.kelly import heat_factor, heat_of, kelly_size, odds_of, recommended_size
from shared.domain.capital.leverage import optimal_leverage, spread_bps
from shared.domain.capital.liquidity import hit_levels, liquidity_check
from shared.domain.capital.opportunity import Opportunity, opportunity
from shared.domain.capital.regime import MarketRegime
from shared.domain.capital.risk_parity import risk_parity
from shared.domain.capital.scaling import class_of
from shared.domain.capital.volatility import CANDLES, correlation, volatility_pct
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.queries.capital.accounts import CapitalAccount, read_account
from shared.queries.capital.markets import SymbolMarket, read_closes, read_market
from shared.queries.capital.models import KellyAnswer, LiquidityAnswer, RiskParity, SymbolLeverage
from shared.queries.capital.overview import drawdown_record, read_record
from shared.queries.capital.own import read_own_part
from shared.queries.capital.pairs import find_instrument
from shared.queries.capital.sources import AccountName, CapitalSources

MOST_COMPARED: Final = 10
"""The largest positions, with which a new symbol is compared."""


async def subject(sources: CapitalSources, name: AccountName, symbol: str) -> tuple[CapitalAccount, Instrument]:
    """Read an account, and find the pair that a question is about. Raises AccountNotRead, NoSuchAccount, UnknownPair."""
    instrument = await asyncio.to_thread(find_instrument, sources.connections, name, symbol)
    return await asyncio.to_thread(read_account, sources.connections, name, sources.now()), instrument


async def read_leverage(
    sources: CapitalSources,
    name: AccountName,
    symbol: str,
    *,
    win_rate: Decimal | None = None,
    regime: MarketRegime | None = None,
) -> SymbolLeverage:
    """Return the optimal leverage of a symbol. The answer to the same question is remembered for a minute.

    Raises AccountNotRead, NoSuchAccount, UnknownPair, and InvalidAmount for a win rate that is not from 0 to 1.
    """
    account, instrument = await subject(sources, name, symbol)
    question = (name, instrument.symbol, win_rate, regime)
    known = sources.leverages.get(question)
    if known is not None:
        return known
    market = await read_market(sources, name.broker, instrument)
    answer = leverage_of(sources, account.facts_for(instrument), instrument, market, win_rate=win_rate, regime=regime)
    if answer.missing is None:
        sources.leverages.put(question, answer)
    return answer


async def read_kelly(
    sources: CapitalSources,
    name: AccountName,
    symbol: str,
    *,
    odds: RequestedOdds | None = None,
    regime: MarketRegime | None = None,
) -> KellyAnswer:
    """Return the size of a trade by Kelly's formula.

    Raises AccountNotRead, NoSuchAccount, UnknownPair, DatabaseUnavailable.
    """
    account, instrument = await subject(sources, name, symbol)
    record = await asyncio.to_thread(read_record, sources, name)
    own = await asyncio.to_thread(read_own_part, sources, account)
    market = await read_market(sources, name.broker, instrument)
    state = drawdown_record(record, account.facts).state
    return kelly_of(own.account.facts, instrument, market, state, odds=odds, regime=regime, trades=own.trades)


async def read_liquidity(
    sources: CapitalSources, name: AccountName, symbol: str, size: Decimal, side: Side = Side.BUY
) -> LiquidityAnswer:
    """Return what the order book leaves of an order of this size in US dollars, above 0.

    Raises AccountNotRead, NoSuchAccount, UnknownPair, and InvalidAmount for another size.
    """
    account, instrument = await subject(sources, name, symbol)
    market = await read_market(sources, name.broker, instrument)
    return liquidity_of(account.facts, instrument, market, size, side)


async def read_risk_parity(sources: CapitalSources, name: AccountName, symbols: Sequence[str]) -> RiskParity:
    """Return the share of each symbol, from the volatility of its last 100 candles of five minutes.

    Raises UnknownPair. A symbol without enough candles, or whose price did not move, has no share.
    """
    connections = sources.connections
    instruments = await asyncio.to_thread(lambda: [find_instrument(connections, name, each) for each in symbols])
    return await parity_of(sources, name.broker, [each.symbol for each in instruments])


async def read_opportunity(
    sources: CapitalSources, name: AccountName, score: Decimal, symbol: str | None = None
) -> Opportunity:
    """Return what to do with a signal. With a symbol, its correlation with what is held counts.

    Raises AccountNotRead, NoSuchAccount, UnknownPair, DatabaseUnavailable, and InvalidAmount for a score that is not
    from 0 to 100.
    """
    account = await asyncio.to_thread(read_account, sources.connections, name, sources.now())
    related = None
    if symbol is not None:
        instrument = await asyncio.to_thread(find_instrument, sources.connections, name, symbol)
        related = await correlation_with_held(sources, account, instrument.symbol)
    own = await asyncio.to_thread(read_own_part, sources, account)
    return opportunity_of(own.account.facts, score, related)


def leverage_of(
    sources: CapitalSources,
    account: AccountFacts,
    instrument: Instrument,
    market: SymbolMarket,
    *,
    win_rate: Decimal | None = None,
    regime: MarketRegime | None = None,
) -> SymbolLeverage:
    """Compute the leverage of a symbol from what was read. An account below zero counts as empty."""
    leverage = optimal_leverage(
        instrument.base,
        max(ZERO, account.equity),
        market.facts if market.missing is None else None,
        most_of_account=ONE if account.margin is None else account.margin.most_leverage,
        win_rate=win_rate,
        regime=regime,
    )
    return SymbolLeverage(
        symbol=instrument.symbol,
        leverage=leverage,
        atr_pct=market.facts.atr_pct,
        spread_bps=None if market.book is None else spread_bps(market.book),
        missing=market.missing,
        computed_at=sources.now(),
    )


def kelly_of(
    account: AccountFacts,
    instrument: Instrument,
    market: SymbolMarket,
    state: DrawdownState,
    *,
    odds: RequestedOdds | None = None,
    regime: MarketRegime | None = None,
    trades: Sequence[ClosedTrade] = (),
) -> KellyAnswer:
    """Compute the Kelly size. `trades`: those that the account itself closed lately."""
    kelly = kelly_size(max(ZERO, account.equity), odds_of(trades, odds), regime)
    heat = heat_of(account) if account.equity > 0 else ZERO
    drawdown = LIMITS[state].size
    size = recommended_size(kelly, heat, drawdown)
    factor = None
    if market.book is not None:
        levels = hit_levels(market.book, Side.BUY)
        check = liquidity_check(levels, size / levels[0].price) if size > 0 else None
        factor = ONE if check is None else check.factor * check.cut_factor
    return KellyAnswer(
        symbol=instrument.symbol,
        kelly=kelly.model_copy(update={"size": cut_cents(kelly.size)}),
        heat_pct=heat,
        heat_factor=heat_factor(heat),
        drawdown_factor=drawdown,
        liquidity_factor=factor,
        size=ZERO if factor is None else cut_cents(size * factor),
        missing=market.missing,
    )


def liquidity_of(
    account: AccountFacts, instrument: Instrument, market: SymbolMarket, size: Decimal, side: Side
) -> LiquidityAnswer:
    """Compute what an order book leaves of an order."""
    levels = () if market.book is None else hit_levels(market.book, side)
    check = liquidity_check(levels, size / levels[0].price) if levels else None
    return LiquidityAnswer(
        symbol=instrument.symbol,
        side=side,
        size=size,
        best_price=levels[0].price if levels else None,
        check=check,
        method=None if check is None else method_for(class_of(account.equity), is_sliced=check.is_sliced),
        missing=market.missing,
    )


async def parity_of(sources: CapitalSources, broker: Broker, symbols: Sequence[Symbol]) -> RiskParity:
    """Divide capital among symbols by their volatility."""
    wanted = list(dict.fromkeys(symbols))
    closes = await asyncio.gather(*(read_closes(sources, broker, each) for each in wanted))
    found = {str(each): volatility_pct(list(of.values())) for each, of in zip(wanted, closes, strict=True)}
    known = {each: volatility for each, volatility in found.items() if volatility}
    return RiskParity(
        shares=risk_parity(known) if known else {},
        volatilities=known,
        missing=tuple(each for each in found if each not in known),
    )


def parity_of_volatilities(volatilities: Mapping[str, Decimal]) -> RiskParity:
    """Divide capital by given volatilities. Raises InvalidAmount when there is none, or one is not above 0."""
    return RiskParity(shares=risk_parity(volatilities), volatilities=dict(volatilities))


async def correlation_with_held(sources: CapitalSources, account: CapitalAccount, symbol: Symbol) -> Decimal | None:
    """Return the highest correlation with one of the ten largest positions; None: none can be computed."""
    held = sorted(account.facts.positions, key=lambda each: each.value, reverse=True)[:MOST_COMPARED]
    if not held:
        return None
    broker = account.name.broker
    mine, *others = await asyncio.gather(
        read_closes(sources, broker, symbol), *(read_closes(sources, broker, each.instrument.symbol) for each in held)
    )
    found = []
    for theirs in others:
        both = sorted(mine.keys() & theirs.keys())[-CANDLES:]
        found.append(correlation([mine[each] for each in both], [theirs[each] for each in both]))
    return max((each for each in found if each is not None), default=None)


def opportunity_of(account: AccountFacts, score: Decimal, related: Decimal | None) -> Opportunity:
    """Compare a signal with the positions that nija opened."""
    return opportunity(score, account.own_positions, account.margin_free_pct, correlation=related)
