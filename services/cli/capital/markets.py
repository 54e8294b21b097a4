"""`nija capital leverage`, `kelly`, `liquidity` and `risk-parity`: what needs market data."""

from decimal import Decimal
from typing import Annotated

import typer

from services.cli import output
from services.cli.capital.options import (
    AccountOption,
    BrokerOption,
    JsonOption,
    LossOption,
    RegimeOption,
    SideOption,
    SymbolArgument,
    WinOption,
    WinRateOption,
    amount,
    odds_of_options,
    regime_of,
    share,
    side_of,
)
from services.cli.capital.output import Where, ask, dollars, percent, print_facts, print_json, short, titled
from shared.config import ConfigurationError
from shared.queries.capital.models import KellyAnswer, LiquidityAnswer, RiskParity, SymbolLeverage
from shared.queries.capital.sizing import (
    parity_of_volatilities,
    read_kelly,
    read_leverage,
    read_liquidity,
    read_risk_parity,
)
from shared.queries.capital.sources import AccountName, CapitalSources

Facts = list[tuple[str, str]]


def leverage(
    symbol: SymbolArgument,
    win_rate: WinRateOption = None,
    regime: RegimeOption = None,
    broker: BrokerOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the optimal leverage of a symbol, with every factor. A spot account has an effective leverage of 1."""
    rate, market = share(win_rate), regime_of(regime)

    async def question(sources: CapitalSources, name: AccountName) -> SymbolLeverage:
        return await read_leverage(sources, name, symbol, win_rate=rate, regime=market)

    name, found = ask(Where(broker, account, as_json), question)
    if as_json:
        print_json(name, found)
    else:
        print_facts(titled(f"leverage for {found.symbol}", name), leverage_facts(found))


def leverage_facts(found: SymbolLeverage) -> Facts:
    """The rows of a leverage."""
    computed = found.leverage
    factors = [] if computed.factors is None else list(computed.factors.model_dump().items())
    return [
        ("optimal", short(computed.optimal)),
        ("effective", short(computed.effective)),
        ("range", f"{short(computed.lowest)}–{short(computed.highest)}"),
        ("ATR of 4 h", percent(found.atr_pct)),
        *((f"factor {title}", short(value)) for title, value in factors),
        ("confidence", f"{computed.confidence} of 100"),
        *_missing(found.missing),
    ]


def kelly(
    symbol: SymbolArgument,
    win_rate: WinRateOption = None,
    average_win: WinOption = None,
    average_loss: LossOption = None,
    regime: RegimeOption = None,
    broker: BrokerOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the size of a trade by half of Kelly's formula, with every factor.

    Without --win-rate it is 0.50, and without --average-win and --average-loss their ratio is 1.5.
    """
    odds, market = odds_of_options(win_rate, average_win, average_loss), regime_of(regime)

    async def question(sources: CapitalSources, name: AccountName) -> KellyAnswer:
        return await read_kelly(sources, name, symbol, odds=odds, regime=market)

    name, found = ask(Where(broker, account, as_json), question)
    if as_json:
        print_json(name, found)
    else:
        print_facts(titled(f"Kelly size for {found.symbol}", name), kelly_facts(found))


def kelly_facts(found: KellyAnswer) -> Facts:
    """The rows of a Kelly size."""
    odds = found.kelly.odds
    return [
        ("size", dollars(found.size)),
        ("win rate", f"{short(odds.win_rate)} ({odds.win_rate_from.value})"),
        ("win / loss", f"{'no losses' if odds.ratio is None else short(odds.ratio)} ({odds.ratio_from.value})"),
        ("Kelly", percent(found.kelly.kelly_pct)),
        ("half of it", percent(found.kelly.half_kelly_pct)),
        ("capital, regime", f"× {short(found.kelly.capital_factor)} × {short(found.kelly.regime_factor)}"),
        ("within 0.5–5 %", percent(found.kelly.clamped_pct)),
        ("heat", f"{percent(found.heat_pct)}, × {short(found.heat_factor)}"),
        ("drawdown", f"× {short(found.drawdown_factor)}"),
        ("liquidity", f"× {short(found.liquidity_factor)}"),
        *_missing(found.missing),
    ]


def liquidity(
    symbol: SymbolArgument,
    size: Annotated[str, typer.Argument(metavar="DOLLARS", help="The size of the order.")],
    side: SideOption = "buy",
    broker: BrokerOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far an order would move the price, and what the order book leaves of it."""
    dollars_asked, which = amount(size, "DOLLARS", above=True), side_of(side)

    async def question(sources: CapitalSources, name: AccountName) -> LiquidityAnswer:
        return await read_liquidity(sources, name, symbol, dollars_asked, which)

    name, found = ask(Where(broker, account, as_json), question)
    if as_json:
        print_json(name, found)
    else:
        print_facts(titled(f"liquidity of {found.symbol}", name), liquidity_facts(found))


def liquidity_facts(found: LiquidityAnswer) -> Facts:
    """The rows of a liquidity check."""
    checked = found.check
    if checked is None or found.best_price is None:
        return _missing(found.missing)
    return [
        ("order", f"{found.side.value} for {dollars(found.size)}"),
        ("best price", short(found.best_price)),
        ("impact", percent(checked.impact_pct)),
        ("left of the size", f"× {short(checked.factor)} × {short(checked.cut_factor)}"),
        ("allowed", dollars(checked.quantity * found.best_price)),
        ("impact then", percent(checked.final_impact_pct)),
        ("execution", found.method.value if found.method else "–"),
    ]


def risk_parity(
    symbols: Annotated[
        list[str],
        typer.Argument(metavar="SYMBOL…", help="Pairs; or names with volatilities: BTC=2.5 ETH=3.2."),
    ],
    broker: BrokerOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Divide capital so that every symbol carries the same risk: each share is proportional to 1 / volatility.

    The volatility is that of 100 candles of five minutes, or the one that is given.
    """
    given = _volatilities(symbols)

    async def question(sources: CapitalSources, name: AccountName) -> RiskParity:
        return parity_of_volatilities(given) if given else await read_risk_parity(sources, name, symbols)

    name, found = ask(Where(broker, account, as_json), question)
    if as_json:
        print_json(name, found)
    else:
        show_parity(titled("risk parity", name), found)


def show_parity(title: str, found: RiskParity) -> None:
    """Print the shares."""
    shown = output.table(title)
    output.text_columns(shown, "symbol")
    output.number_columns(shown, "share %", "volatility %")
    for symbol, each in found.shares.items():
        shown.add_row(symbol, short(each), short(found.volatilities[symbol]))
    output.show(shown)
    if found.missing:
        output.console.print(f"without a share, for lack of candles: {', '.join(found.missing)}")


def _volatilities(texts: list[str]) -> dict[str, Decimal]:
    """Read `BTC=2.5 ETH=3.2`; empty: no volatility is given. Raises ConfigurationError."""
    pairs = [text.partition("=") for text in texts]
    if not any(found for _, found, _ in pairs):
        return {}
    if not all(symbol and found for symbol, found, _ in pairs):
        raise ConfigurationError("SYMBOL: give a volatility for each symbol, such as BTC=2.5 ETH=3.2, or for none")
    if len({symbol for symbol, _, _ in pairs}) < len(pairs):
        raise ConfigurationError("SYMBOL: a symbol is given twice")
    return {symbol[:20]: amount(value, f"the volatility of {symbol[:20]}", above=True) for symbol, _, value in pairs}


def _missing(text: str | None) -> Facts:
    return [] if text is None else [("missing", text)]
