"""Defines the options that the commands of `nija check` share."""

from typing import Annotated

import typer

BrokerOption = Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
