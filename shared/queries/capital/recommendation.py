"""Asks the gate whether an entry may be placed, and combines all parts into one analysis."""

import asyncio
import contextlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from shared.brokers.registry import profile_of
from shared.domain.capital.arithmetic import cut_cents
from shared.domain.capital.drawdown import LIMITS
from shared.domain.capital.facts import ClosedTrade
from shared.domain.capital.gate import recommend, unknown_account
from shared.domain.capital.recommendation import EntryRequest, GateInputs, Recommendation
from shared.domain.capital.scaling import risk_amount, rules_for
from shared.domain.capital.state import capital_state
from shared.domain.fill import Side
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.queries.capital.accounts import CapitalAccount
from shared.queries.capital.errors import AccountNotRead, UnknownPair
from shared.queries.capital.markets import SymbolMarket, read_market
from shared.queries.capital.models import CompleteAnalysis, EntryQuestion
from shared.queries.capital.overview import (
    allocation_of,
    drawdown_of,
    drawdown_record,
    margin_of,
    read_history,
    read_record,
    scaling_of,
)
from shared.queries.capital.own import read_own_part
from shared.queries.capital.pairs import find_instrument
from shared.queries.capital.sizing import (
    correlation_with_held,
    kelly_of,
    leverage_of,
    liquidity_of,
    opportunity_of,
    parity_of,
    subject,
)
from shared.queries.capital.sources import AccountName, CapitalSources
from shared.queries.stops import read_stop

DEFAULT_SYMBOL: Final = "BTC"
MOST_WEIGHTED: Final = 5
"""The symbols among which an analysis divides capital. Each one costs a request."""
FIRST_AND_LAST: Final = 2
"""The points of the history in an analysis, which shows its figures."""
_LEAST_CHECKED: Final = Decimal(1)
"""US dollars, for which liquidity is shown where the size of a trade would be 0."""


async def read_recommendation(sources: CapitalSources, name: AccountName, question: EntryQuestion) -> Recommendation:
    """Return whether and how to enter. An account whose state is not known is a rejection.

    Raises NoSuchAccount, UnknownPair, RedisError, DatabaseUnavailable.
    """
    try:
        account, instrument = await subject(sources, name, question.symbol)
    except AccountNotRead as error:
        text = str(error)
        return unknown_account(f"{text[:1].upper()}{text[1:]}.")
    market, related, own = await asyncio.gather(
        read_market(sources, name.broker, instrument),
        correlation_with_held(sources, account, instrument.symbol),
        asyncio.to_thread(read_own_part, sources, account),
    )
    return await ask_gate(sources, own.account, instrument, market, related, question, trades=own.trades)


async def read_complete_analysis(
    sources: CapitalSources,
    name: AccountName,
    symbol: str = DEFAULT_SYMBOL,
    question: EntryQuestion | None = None,
) -> CompleteAnalysis:
    """Return all parts for one account and one symbol. With a question, also what to do with its signal.

    The symbol of the question is replaced by `symbol`. Raises AccountNotRead, NoSuchAccount, UnknownPair, RedisError,
    DatabaseUnavailable.
    """
    account, instrument = await subject(sources, name, symbol)
    own = await asyncio.to_thread(read_own_part, sources, account)
    account = own.account
    compared = await asyncio.to_thread(_compared_symbols, sources, account)
    market, parity, record, history = await asyncio.gather(
        read_market(sources, name.broker, instrument),
        parity_of(sources, name.broker, compared),
        asyncio.to_thread(read_record, sources, name),
        asyncio.to_thread(read_history, sources, name, most_points=FIRST_AND_LAST),
    )
    # After the others, because it reuses their candles.
    related = await correlation_with_held(sources, account, instrument.symbol)
    facts, drawdown = account.facts, drawdown_record(record, account.facts)
    odds, regime = (None, None) if question is None else (question.odds, question.regime)
    kelly = kelly_of(facts, instrument, market, drawdown.state, odds=odds, regime=regime, trades=own.trades)
    size = min(kelly.kelly.size, risk_amount(facts.equity)) * LIMITS[drawdown.state].size
    win_rate = None if odds is None else odds.win_rate
    return CompleteAnalysis(
        broker=name.broker,
        account=name.account,
        symbol=instrument.symbol,
        as_of=sources.now(),
        state=capital_state(facts),
        history=history,
        leverage=leverage_of(
            sources, account.facts_for(instrument), instrument, market, win_rate=win_rate, regime=regime
        ),
        kelly=kelly,
        margin=margin_of(record, facts),
        scaling=scaling_of(facts, sources.stocks),
        risk_parity=parity,
        drawdown=drawdown_of(sources, record, facts),
        opportunity=None if question is None else opportunity_of(facts, question.signal_score, related),
        allocation=allocation_of(sources, record, facts),
        liquidity=liquidity_of(facts, instrument, market, max(_LEAST_CHECKED, cut_cents(size)), Side.BUY),
        recommendation=None
        if question is None
        else await ask_gate(sources, account, instrument, market, related, question, trades=own.trades),
    )


async def ask_gate(
    sources: CapitalSources,
    account: CapitalAccount,
    instrument: Instrument,
    market: SymbolMarket,
    related: Decimal | None,
    question: EntryQuestion,
    *,
    trades: Sequence[ClosedTrade] = (),
    has_made_room: bool = False,
) -> Recommendation:
    """Return the gate's answer for an account and a market that were read. Raises DatabaseUnavailable.

    `trades`: the account's own closed trades. `has_made_room`: a position was closed for this entry.
    """
    record = await asyncio.to_thread(read_record, sources, account.name)
    # The last thing that is read, so that a stop counts at once.
    stop = await asyncio.to_thread(read_stop, sources.connections, account.name.broker)
    request = EntryRequest(
        instrument=instrument,
        side=question.side,
        signal_score=question.signal_score,
        expected_return_pct=question.expected_return_pct,
        regime=question.regime,
        odds=question.odds,
        largest_size=question.largest_size,
        has_made_room=has_made_room,
    )
    inputs = GateInputs(
        request=request,
        account=account.facts_for(instrument),
        market=market.facts,
        drawdown=drawdown_record(record, account.facts),
        fees=account.fees_of(instrument),
        stop=stop,
        trades=tuple(trades),
        correlation=related,
        small_account=profile_of(account.name.broker).small_account,
        stocks=sources.stocks,
    )
    return recommend(inputs, sources.now())


def _compared_symbols(sources: CapitalSources, account: CapitalAccount) -> list[Symbol]:
    """The pairs of the largest positions, filled up with the assets of the account's class that its broker lists."""
    held = sorted(account.facts.positions, key=lambda each: each.value, reverse=True)
    found = dict.fromkeys(each.instrument.symbol for each in held[:MOST_WEIGHTED])
    for asset in rules_for(account.facts.equity).assets:
        if len(found) >= MOST_WEIGHTED:
            break
        with contextlib.suppress(UnknownPair):
            found[find_instrument(sources.connections, account.name, asset).symbol] = None
    return list(found)
