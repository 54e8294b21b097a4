"""`nija check trading` and `nija check positions`: answer whether the strategy trades, and whether it holds anything."""

from datetime import UTC, datetime
from typing import Any

import typer

from services.cli import output
from services.cli.arguments import chosen_broker
from services.cli.check.options import BrokerOption, JsonOption
from services.cli.traders_view import show_positions, show_traders
from services.local_system.record import settings_of_running_system
from shared.config import Settings, load_settings
from shared.config.operator import open_connections
from shared.queries.traders import TradersStatus, read_traders


def check_trading(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """0 if the strategy trades at least one funded broker, or the one that `--broker` names.

    Prints each broker: connected, funded, trading, open positions and balances, and the settings of the strategy.
    """
    settings, found = _read(broker)
    if as_json:
        output.print_json({**_summary(found), "settings": _settings(settings), "traders": _dumped(found)})
    else:
        show_traders(found)
        for name, value in _settings(settings).items():
            output.console.print(f"{name}: {value}")
    if not set(found.active) & set(found.funded):
        raise typer.Exit(1)


def check_positions(broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """0 if the strategy holds at least one position; 1 if it holds none."""
    _, found = _read(broker)
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found.positions])
    else:
        show_positions(found.positions)
    if not found.positions:
        raise typer.Exit(1)


def _read(broker: str | None) -> tuple[Settings, TradersStatus]:
    where = chosen_broker(broker)
    with output.progress("asking"):
        settings = settings_of_running_system(load_settings())
        with open_connections(settings) as connections:
            return settings, read_traders(
                connections, (where,) if where else settings.enabled_brokers(), datetime.now(UTC)
            )


def _summary(found: TradersStatus) -> dict[str, Any]:
    return {
        "total": found.total,
        "connected": [each.value for each in found.connected],
        "funded": [each.value for each in found.funded],
        "active": [each.value for each in found.active],
        "open_positions": len(found.positions),
    }


def _dumped(found: TradersStatus) -> list[dict[str, Any]]:
    return [each.model_dump(mode="json") for each in found.traders]


def _settings(settings: Settings) -> dict[str, Any]:
    independent = settings.multi_broker_independent
    return {
        "MULTI_BROKER_INDEPENDENT": "not set: on paper only" if independent is None else independent,
        "NIJA_TRADER_CYCLE_SECONDS": settings.trader_cycle_seconds,
        "NIJA_ASSETS": ",".join(settings.assets) or "all",
        "NIJA_STRATEGY": ",".join(settings.strategy) or "defaults",
    }
