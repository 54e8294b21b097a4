"""`nija capital recommend` and `analysis`: what the gate says about an entry, and everything about an account."""

from typing import Annotated

import typer

from services.cli import output
from services.cli.capital.markets import kelly_facts, leverage_facts, liquidity_facts, show_parity
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
    side_of,
)
from services.cli.capital.output import Where, ask, dollars, percent, print_facts, print_json, short, titled, yes_or_no
from services.cli.capital.overview import show_allocation
from shared.domain.capital.recommendation import Recommendation
from shared.queries.capital.models import CompleteAnalysis, EntryQuestion
from shared.queries.capital.recommendation import DEFAULT_SYMBOL, read_complete_analysis, read_recommendation
from shared.queries.capital.sources import AccountName, CapitalSources

_LEAST_RETURN = -100


def recommend(
    symbol: SymbolArgument,
    score: Annotated[str, typer.Option("--score", help="The score of the signal, 0 to 100.")],
    expected_return: Annotated[str, typer.Option("--expected-return", help="In percent, before fees.")],
    side: SideOption = "buy",
    win_rate: WinRateOption = None,
    average_win: WinOption = None,
    average_loss: LossOption = None,
    regime: RegimeOption = None,
    broker: BrokerOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show whether an entry may be placed, how large it may be, and each step to that size. Nothing is ordered.

    Exit code 0: enter, perhaps at a reduced size. 1: rejected.
    """
    asked = EntryQuestion(
        symbol=symbol,
        side=side_of(side),
        signal_score=amount(score, "--score", most=100),
        expected_return_pct=amount(expected_return, "--expected-return", least=_LEAST_RETURN),
        regime=regime_of(regime),
        odds=odds_of_options(win_rate, average_win, average_loss),
    )

    async def question(sources: CapitalSources, name: AccountName) -> Recommendation:
        return await read_recommendation(sources, name, asked)

    name, found = ask(Where(broker, account, as_json), question)
    if as_json:
        print_json(name, found)
    else:
        _show_recommendation(titled(f"recommendation for {symbol}", name), found)
    if found.recommendation.value == "REJECT":
        raise typer.Exit(1)


def _show_recommendation(title: str, found: Recommendation) -> None:
    facts = [
        ("recommendation", found.recommendation.value),
        ("reason", found.reason),
        ("size", dollars(found.position_size_usd)),
        ("quantity", short(found.quantity)),
        ("margin", dollars(found.margin_required)),
        ("leverage", f"{short(found.effective_leverage)} (optimal {short(found.optimal_leverage)})"),
        ("of equity", percent(found.risk_pct)),
        ("execution", found.execution_method.value if found.execution_method else "–"),
    ]
    print_facts(title, facts)
    if not found.adjustments:
        return
    shown = output.table("from equity to size")
    output.text_columns(shown, "step")
    output.number_columns(shown, "factor", "size after it")
    for each in found.adjustments:
        shown.add_row(each.name.value.replace("_", " "), short(each.factor), dollars(each.size))
    output.show(shown)


def analysis(
    symbol: Annotated[str, typer.Argument(metavar="[SYMBOL]", help="Default: BTC.")] = DEFAULT_SYMBOL,
    score: Annotated[str | None, typer.Option("--score", help="The score of a signal, 0 to 100.")] = None,
    expected_return: Annotated[
        str, typer.Option("--expected-return", help="What the signal promises, in percent.")
    ] = "0",
    regime: RegimeOption = None,
    broker: BrokerOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all parts in one answer: state, leverage, Kelly size, margin, scaling, risk parity, drawdown, buckets.

    With --score it also shows what to do with a signal.
    """
    asked = None
    market = regime_of(regime)
    if score is not None:
        asked = EntryQuestion(
            symbol=symbol,
            signal_score=amount(score, "--score", most=100),
            expected_return_pct=amount(expected_return, "--expected-return", least=_LEAST_RETURN),
            regime=market,
        )

    async def question(sources: CapitalSources, name: AccountName) -> CompleteAnalysis:
        return await read_complete_analysis(sources, name, symbol, asked)

    name, found = ask(Where(broker, account, as_json), question)
    if as_json:
        print_json(name, found)
    else:
        _show_analysis(name, found)


def _show_analysis(name: AccountName, found: CompleteAnalysis) -> None:
    state, margin, drawdown = found.state, found.margin, found.drawdown
    facts = [
        ("equity", f"{dollars(state.total_equity)}, {state.capital_status.value}"),
        ("available", dollars(state.available_balance)),
        ("buying power", dollars(state.buying_power)),
        ("last 24 h", f"{found.history.trend.value}, {percent(found.history.growth_pct)}"),
        ("margin", f"{margin.zone.value}, {percent(margin.margin_used_pct)} used"),
        ("new entries", yes_or_no(margin.can_open_new and not drawdown.is_breaker_open)),
        ("drawdown", f"{drawdown.state.value}, {percent(drawdown.drawdown_pct)}"),
        ("class", f"{found.scaling.account_class.value}, at most {found.scaling.most_positions} positions"),
    ]
    print_facts(titled("capital", name), facts)
    print_facts(f"leverage for {found.symbol}", leverage_facts(found.leverage))
    print_facts(f"Kelly size for {found.symbol}", kelly_facts(found.kelly))
    print_facts(f"liquidity of {found.symbol}", liquidity_facts(found.liquidity))
    show_parity("risk parity", found.risk_parity)
    show_allocation("buckets", found.allocation.allocation)
    if found.opportunity is not None:
        output.console.print(f"opportunity: {found.opportunity.action.value}")
    if found.recommendation is not None:
        _show_recommendation(f"recommendation for {found.symbol}", found.recommendation)
