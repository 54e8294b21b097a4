"""Registers the commands of `nija capital`; each is a function in a module of this folder."""

import typer

from services.cli.capital.markets import kelly, leverage, liquidity, risk_parity
from services.cli.capital.overview import allocation, drawdown, history, margin, scaling, state
from services.cli.capital.recommend import analysis, recommend

app = typer.Typer(
    help="The capital of a master account: balances, margin, leverage, sizes, and whether an entry may be placed.",
    no_args_is_help=True,
)
app.command("state")(state)
app.command("history")(history)
app.command("leverage")(leverage)
app.command("kelly")(kelly)
app.command("margin")(margin)
app.command("scaling")(scaling)
app.command("risk-parity")(risk_parity)
app.command("drawdown")(drawdown)
app.command("allocation")(allocation)
app.command("liquidity")(liquidity)
app.command("recommend")(recommend)
app.command("analysis")(analysis)
