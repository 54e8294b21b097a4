"""Registers the commands of `nija check`. Exit code 0: yes; 1: no, or something is found; 2: wrong use."""

import typer

from services.cli.check.brokers import check_brokers
from services.cli.check.keys import keys
from services.cli.check.settings import check_settings
from services.cli.check.traders import check_positions, check_trading

app = typer.Typer(
    help="Questions for a monitoring script: exit code 0 yes, 1 no or a finding, 2 wrong use.", no_args_is_help=True
)
app.command("keys")(keys)
app.command("brokers")(check_brokers)
app.command("trading")(check_trading)
app.command("positions")(check_positions)
app.command("settings")(check_settings)
