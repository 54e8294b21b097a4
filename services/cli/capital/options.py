"""The arguments and options that the commands of `nija capital` share, and the checks of their texts."""

from decimal import Decimal
from typing import Annotated

import typer

from shared.config import ConfigurationError
from shared.domain.amounts import parse_amount
from shared.domain.capital.facts import RequestedOdds
from shared.domain.capital.regime import MarketRegime
from shared.domain.errors import InvalidAmount
from shared.domain.fill import Side

BrokerOption = Annotated[
    str | None, typer.Option("--broker", "-b", help="Default: the only or first funded master account.")
]
AccountOption = Annotated[str | None, typer.Option("--account", "-a", help="The account there, such as master.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
SymbolArgument = Annotated[str, typer.Argument(metavar="SYMBOL", help="BTC, BTC-USD, BTC/USD or BTCUSDT.")]
WinRateOption = Annotated[str | None, typer.Option(help="Share of trades that win, 0 to 1.")]
RegimeOption = Annotated[str | None, typer.Option("--regime", help="STRONG_TREND, TRENDING, RANGING or VOLATILE.")]
WinOption = Annotated[str | None, typer.Option("--average-win", help="What a win brings on average.")]
LossOption = Annotated[str | None, typer.Option("--average-loss", help="What a loss costs on average, above 0.")]
SideOption = Annotated[str, typer.Option(help="buy or sell.")]

_MOST = Decimal("1e12")


def amount(text: str, argument: str, *, least: int = 0, most: Decimal | int = _MOST, above: bool = False) -> Decimal:
    """Read a number from `least` to `most`. `above`: it must be more than `least`. Raises ConfigurationError."""
    try:
        value = parse_amount(text)
    except InvalidAmount:
        value = Decimal(least - 1)
    if value < least or value > most or (above and value == least):
        bounds = f"above {least}" if above else f"from {least}"
        raise ConfigurationError(f"{argument} is {text[:40]!r}; it should be a number {bounds} to {most:f}")
    return value


def share(text: str | None) -> Decimal | None:
    """Read `--win-rate`. Raises ConfigurationError."""
    return None if text is None else amount(text, "--win-rate", most=1)


def regime_of(text: str | None) -> MarketRegime | None:
    """Read `--regime`. Raises ConfigurationError that names the known ones."""
    if text is None:
        return None
    try:
        return MarketRegime(text.upper())
    except ValueError:
        known = ", ".join(each.value for each in MarketRegime)
        raise ConfigurationError(f"--regime is {text[:40]!r}; it should be one of {known}") from None


def side_of(text: str) -> Side:
    """Read `--side`. Raises ConfigurationError."""
    try:
        return Side(text.lower())
    except ValueError:
        raise ConfigurationError(f"--side is {text[:40]!r}; it should be buy or sell") from None


def odds_of_options(win_rate: str | None, average_win: str | None, average_loss: str | None) -> RequestedOdds:
    """Read the odds that a user gives. Raises ConfigurationError."""
    if (average_win is None) != (average_loss is None):
        missing = "--average-loss" if average_loss is None else "--average-win"
        raise ConfigurationError(f"{missing} is missing: an average win and an average loss belong together")
    return RequestedOdds(
        win_rate=share(win_rate),
        average_win=None if average_win is None else amount(average_win, "--average-win"),
        average_loss=None if average_loss is None else amount(average_loss, "--average-loss", above=True),
    )
