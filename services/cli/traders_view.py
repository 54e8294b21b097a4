"""Prints the traders of the master accounts and the positions that the strategy opened, for several commands."""

from collections.abc import Sequence

from services.cli import output
from shared.domain.amounts import plain, round_down
from shared.domain.strategy.trader_state import CENT
from shared.queries.traders import TraderFacts, TraderPosition, TradersStatus


def show_traders(found: TradersStatus) -> None:
    """Print the numbers of brokers, and two tables with one row for each: how it runs, and what its account has."""
    say = output.console.print
    say(
        f"brokers: {found.total} in all, {len(found.connected)} connected, {len(found.funded)} funded, "
        f"{len(found.active)} active"
    )
    runs, has = output.table(), output.table()
    output.text_columns(runs, "broker", "status", "connected", "funded", "trading")
    output.number_columns(runs, "cycles", "good")
    output.text_columns(has, "broker")
    output.number_columns(has, "equity USD", "cash USD", "positions")
    output.message_column(has, "why not, or what is wrong")
    for each in found.traders:
        runs.add_row(
            each.broker.value,
            each.status.value,
            _yes(each.connected),
            _yes(each.funded),
            _yes(each.trading),
            f"{each.successful_cycles}/{each.cycles}",
            f"{each.success_rate:.1%}",
        )
        has.add_row(
            each.broker.value,
            "–" if each.equity_usd is None else plain(round_down(each.equity_usd, CENT)),
            "–" if each.cash_usd is None else plain(round_down(each.cash_usd, CENT)),
            str(len(each.positions)),
            output.short_message(each.why_not or each.doubt),
        )
    output.show(runs)
    output.show(has)
    for each in found.traders:
        _show_errors(each)


def show_positions(found: Sequence[TraderPosition]) -> None:
    """Print the positions that the strategy opened."""
    if not found:
        output.console.print("the strategy holds no positions")
        return
    shown = output.table("positions of the strategy")
    output.text_columns(shown, "broker", "symbol")
    output.number_columns(shown, "quantity", "entry price", "stop")
    output.text_columns(shown, output.when_heading(), "decision")
    for each in found:
        shown.add_row(
            each.broker.value,
            str(each.symbol),
            plain(each.quantity),
            output.short_amount(each.average_price),
            output.short_amount(each.stop),
            output.moment(each.opened_at),
            each.decision_id,
        )
    output.show(shown)


def _show_errors(trader: TraderFacts) -> None:
    for error in trader.errors:
        when = output.moment_with_zone(error.at)
        output.console.print(f"{trader.broker.value}: cycle {error.cycle} failed at {when}: {error.text}")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
