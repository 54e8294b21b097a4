"""`nija backtest`: runs the strategy over a candle file, or checks that it sees nothing of the future.

Exit code 0: done, or no bias; 1: a bias was found.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from services.backtest.records import RecordWriter
from services.cli import output
from services.cli.backtest_bias import check_bias
from services.cli.moments import parse_moment
from shared.config import ConfigurationError, parse_broker
from shared.domain.amounts import parse_amount
from shared.domain.errors import InvalidAmount, InvalidSymbol
from shared.domain.symbol import Symbol

if TYPE_CHECKING:
    from services.backtest.result import BacktestResult
    from services.backtest.sweep import SweepJob

_MOST_REASONS = 12


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
    png: Annotated[Path | None, typer.Option(help="Write the charts to this file; needs matplotlib.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report to this file, as one page; needs matplotlib.")
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="Write every decision to this file, for `nija explain`; 2 kB for each candle.")
    ] = None,
    sweep: Annotated[
        Path | None,
        typer.Option(
            help="Run every combination of the parameters that this TOML file lists, such as near = [0.004, 0.005]."
        ),
    ] = None,
    bias: Annotated[bool, typer.Option("--bias", help="Check that no decision depends on later candles.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Run the strategy over a candle file with a broker's fees, or check that it sees nothing of the future.

    It decides as it does live, and the capital gate answers for every entry. Orders pay the broker's fees and are
    executed at the next candle's open, a little worse. The report names every assumption.
    """
    from services.backtest.sweep import SweepJob

    job = SweepJob(
        candles=candles.resolve(),
        broker=parse_broker(broker, "--broker"),
        symbol=_symbol(symbol),
        since=parse_moment(since, "--from"),
        until=parse_moment(until, "--to"),
        equity=_number(equity, "--equity", above=Decimal(0)),
        slippage=None if slippage is None else _number(slippage, "--slippage", below=Decimal(1)),
        settings=_settings(settings or ()),
    )
    if sweep is not None:
        if bias or png or html or records:
            raise ConfigurationError("--sweep prints one table; leave out --bias, --png, --html and --records")
        _sweep(job, sweep, as_json=as_json)
        return
    _run(job, _Files(png, html, records), bias=bias, as_json=as_json)


class _Files(NamedTuple):
    """What a run writes; None: nothing."""

    png: Path | None
    html: Path | None
    records: Path | None


def _run(job: "SweepJob", files: _Files, *, bias: bool, as_json: bool) -> None:
    from services.backtest.candle_file import read_history
    from services.backtest.costs import venue_of
    from services.backtest.run import Backtest
    from services.backtest.sweep import parameters_of

    parameters, venue = parameters_of(job.settings), venue_of(job.broker, job.symbol, job.slippage)
    with output.progress(f"reading {job.candles}"):
        history = read_history(job.candles, job.since, job.until)
    if bias:
        check_bias(history, parameters, as_json=as_json)
        return
    with ExitStack() as stack:
        listener = None if files.records is None else stack.enter_context(RecordWriter(files.records)).add
        decided = len(history.candles) - history.first_decided
        progress = stack.enter_context(output.progress_bar("deciding", decided))
        run = Backtest(
            history, venue, equity=job.equity, parameters=parameters, on_decision=listener, on_progress=progress
        )
        result = run.run()
    _write_charts(result, files.png, files.html)
    if as_json:
        output.print_json(result.model_dump(mode="json") | {"candles_per_second": round(result.candles_per_second)})
    else:
        _show(result)


def _sweep(job: "SweepJob", path: Path, *, as_json: bool) -> None:
    from services.backtest.candle_file import read_history
    from services.backtest.sweep import read_combinations
    from services.cli.backtest_sweep import sweep

    combinations = read_combinations(path, job.settings)
    with output.progress(f"reading {job.candles}"):
        # Each process of the worker reads the file again. A problem of the file is reported here, before they start.
        read_history(job.candles, job.since, job.until)
    sweep([job.model_copy(update={"settings": settings}) for settings in combinations], as_json=as_json)


def _write_charts(result: "BacktestResult", png: Path | None, html: Path | None) -> None:
    from services.backtest.charts import png_of
    from services.backtest.page import page_of

    with output.progress("drawing"):
        if png is not None:
            _write("--png", png, png_of(result))
        if html is not None:
            _write("--html", html, page_of(result).encode())


def _write(option: str, path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"{option}: {path} cannot be written: {error.strerror}") from None


def _settings(settings: Sequence[str]) -> dict[str, str]:
    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigurationError(f"--set is {setting!r}; it should be NAME=VALUE, such as near=0.004")
        found[name.strip()] = value.strip()
    return found


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
    from services.backtest.result import monthly_returns
    from services.backtest.summary import changed_parameters, summary_of

    facts = output.table(f"{result.symbol} at {result.broker}", header=False)
    output.text_columns(facts, "what")
    output.number_columns(facts, "value")
    for what, value in summary_of(result):
        facts.add_row(what, value)
    output.show(facts)
    months = output.table("months (UTC)")
    output.text_columns(months, "month")
    output.number_columns(months, "change", "equity after", "trades")
    for each in monthly_returns(result):
        months.add_row(f"{each.month:%Y-%m}", f"{each.share:+.2%}", f"{each.equity:,.2f}", str(each.trades))
    output.show(months)
    decisions = output.table("decisions")
    output.text_columns(decisions, "decision")
    output.number_columns(decisions, "candles")
    kinds = list(result.decisions.items())
    for name, count in kinds[:_MOST_REASONS]:
        decisions.add_row(name, f"{count:,}")
    if len(kinds) > _MOST_REASONS:
        rest = sum(count for _, count in kinds[_MOST_REASONS:])
        decisions.add_row(f"{len(kinds) - _MOST_REASONS} other kinds, all in --json", f"{rest:,}")
    output.show(decisions)
    for gap in result.gaps:
        output.console.print(
            f"gap: {gap.starts_at:%Y-%m-%d %H:%M} to {gap.ends_at:%Y-%m-%d %H:%M} UTC is not traded over"
        )
    for assumption in result.assumptions:
        output.console.print(f"assumed: {assumption}")
    for name, value in changed_parameters(result.parameters):
        output.console.print(f"changed: {name} = {value}")
