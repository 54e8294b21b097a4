"""`nija backtest`: runs the strategy over a candle file, or checks that it sees nothing of the future.

Exit code 0: done, or no bias; 1: a bias was found.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import output
from shared.config import ConfigurationError, parse_broker
from shared.domain.amounts import parse_amount, plain
from shared.domain.errors import InvalidAmount, InvalidSymbol
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.symbol import Symbol

if TYPE_CHECKING:
    from services.backtest.bias import BiasFinding
    from services.backtest.candle_file import CandleHistory
    from services.backtest.result import BacktestResult

_MOST_REASONS = 12
_MOST_FINDINGS = 20


def backtest(
    candles: Annotated[Path, typer.Option(help="A CSV file of one-minute candles, also .gz.")],
    broker: Annotated[str, typer.Option("--broker", help="Whose fees are paid.")],
    symbol: Annotated[str, typer.Option(help="The pair of the candles.")] = "BTC/USD",
    since: Annotated[str | None, typer.Option("--from", help="Decide from this day or time on (UTC).")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Decide up to this day or time (UTC).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the strategy, as NAME=VALUE; may be repeated.")
    ] = None,
    equity: Annotated[str, typer.Option(help="US dollars at the beginning.")] = "10000",
    slippage: Annotated[
        str | None, typer.Option(help="Share of the price, such as 0.0005. Default: half of the broker's spread.")
    ] = None,
    bias: Annotated[bool, typer.Option("--bias", help="Check that no decision depends on later candles.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Run the strategy over a candle file with a broker's fees, or check that it sees nothing of the future.

    It decides as it does live. Orders pay the broker's fees and are executed at the next candle's open, a little worse. The report names every
    assumption.
    """
    from services.backtest.candle_file import read_history
    from services.backtest.costs import venue_of
    from services.backtest.run import Backtest

    chosen = parse_broker(broker, "--broker")
    parameters = _parameters(settings or ())
    history = read_history(candles, _moment(since, "--from"), _moment(until, "--to"))
    if bias:
        _check_bias(history, parameters, as_json=as_json)
        return
    venue = venue_of(
        chosen, _symbol(symbol), None if slippage is None else _number(slippage, "--slippage", below=Decimal(1))
    )
    run = Backtest(history, venue, equity=_number(equity, "--equity", above=Decimal(0)), parameters=parameters)
    with output.progress(f"deciding on {len(history.candles) - history.first_decided} candles"):
        result = run.run()
    if as_json:
        output.print_json(result.model_dump(mode="json") | {"candles_per_second": round(result.candles_per_second)})
    else:
        _show(result)


def _parameters(settings: Sequence[str]) -> ApexParameters:
    parameters = APEX
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigurationError(f"--set is {setting!r}; it should be NAME=VALUE, such as near=0.004")
        parameters = parameters.with_setting(name.strip(), value.strip())
    return parameters


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{option} is {text!r}; it should be a day or a time, such as 2022-01-15") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _number(
    text: str, option: str, *, above: Decimal = Decimal(-1), below: Decimal = Decimal(1_000_000_000_000)
) -> Decimal:
    try:
        number = parse_amount(text)
    except InvalidAmount as error:
        raise ConfigurationError(f"{option}: {error}") from None
    if number < 0 or not above < number < below:
        raise ConfigurationError(
            f"{option} is {text}; it should be a number from {max(above, Decimal(0))} to below {below}"
        )
    return number


def _symbol(text: str) -> Symbol:
    try:
        return Symbol.parse(text)
    except InvalidSymbol as error:
        raise ConfigurationError(f"--symbol: {error}") from None


def _show(result: "BacktestResult") -> None:
    days = (result.ends_at - result.starts_at).total_seconds() / 86_400
    facts = output.table(f"{result.symbol} at {result.broker}, {days:.1f} days", header=False)
    output.text_columns(facts, "what")
    output.number_columns(facts, "value")
    for what, value in (
        ("equity before", f"{result.equity_before:,.2f} USD"),
        ("equity after", f"{result.equity_after:,.2f} USD ({result.profit_share:+.2%})"),
        ("largest drawdown", f"{result.largest_drawdown:.2%}"),
        ("fees", f"{result.fees:,.2f} USD"),
        ("trades", f"{len(result.trades)}, {result.winners} with a profit"),
        ("position left open", "yes" if result.position_open else "no"),
        ("candles", f"{result.candles:,} at {result.candles_per_second:,.0f} a second"),
    ):
        facts.add_row(what, value)
    output.show(facts)
    decisions = output.table("decisions")
    output.text_columns(decisions, "decision")
    output.number_columns(decisions, "candles")
    for name, count in list(result.decisions.items())[:_MOST_REASONS]:
        decisions.add_row(name, f"{count:,}")
    output.show(decisions)
    for gap in result.gaps:
        output.console.print(
            f"gap: {gap.starts_at:%Y-%m-%d %H:%M} to {gap.ends_at:%Y-%m-%d %H:%M} UTC is not traded over"
        )
    for assumption in result.assumptions:
        output.console.print(f"assumed: {assumption}")
    for name in ApexParameters.model_fields:
        value = getattr(result.parameters, name)
        if value != getattr(APEX, name):
            output.console.print(f"changed: {name} = {plain(value) if isinstance(value, Decimal) else value}")


def _check_bias(history: "CandleHistory", parameters: ApexParameters, *, as_json: bool) -> None:
    from services.backtest.bias import find_bias, sample_of
    from services.backtest.decide_at import decide_at_with

    indexes = sample_of(history)
    with output.progress(f"deciding again on {len(indexes)} candles"):
        findings = find_bias(history.candles, indexes, decide_at_with(parameters))
    if as_json:
        output.print_json({"candles": len(indexes), "findings": [_as_json(finding) for finding in findings]})
    else:
        for finding in findings[:_MOST_FINDINGS]:
            output.console.print(
                f"bias: {finding.check} at {finding.candle.opened_at:%Y-%m-%d %H:%M} UTC: {finding.what}"
            )
        output.console.print(
            f"{output.counted(len(indexes), 'candle')} decided again on four other versions of the same past: "
            f"{output.counted(len(findings), 'difference')}"
        )
    if findings:
        raise typer.Exit(1)


def _as_json(finding: "BiasFinding") -> dict[str, str]:
    return {
        "check": finding.check.value,
        "candle": finding.candle.opened_at.isoformat(),
        "what": finding.what,
    }
