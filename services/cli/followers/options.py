"""The arguments and options that the commands of `nija followers` share."""

from pathlib import Path
from typing import Annotated

import typer

FollowerArgument = Annotated[str, typer.Argument(metavar="FOLLOWER", help="The follower's id.")]
BrokerOption = Annotated[str | None, typer.Option("--broker", "-b", help="Needed when the id is at several brokers.")]
FollowerUnlessAll = Annotated[
    str | None, typer.Argument(metavar="FOLLOWER", help="The follower's id; leave it out with --all.")
]
BrokerToResume = Annotated[
    str | None,
    typer.Option(
        "--broker", "-b", help="Needed when the id is at several brokers; with --all, only this broker's followers."
    ),
]
AllOption = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Resume all followers that nija disabled and whose keys are in order. Paused followers stay paused.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept with the change.")]
PaperOption = Annotated[bool, typer.Option("--paper", help="The key is of the broker's paper trading.")]
ApiKeyFile = Annotated[
    Path | None, typer.Option(help="File with the API key; else NIJA_FOLLOWER_API_KEY, else a prompt.")
]
ApiSecretFile = Annotated[
    Path | None, typer.Option(help="File with the API secret; else NIJA_FOLLOWER_API_SECRET, else a prompt.")
]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="File with the passphrase (OKX); else NIJA_FOLLOWER_PASSPHRASE, else a prompt.")
]
AllowWithdrawOption = Annotated[
    bool,
    typer.Option("--allow-withdraw", help="Take the key even if it may withdraw, or the broker does not report that."),
]
NoCheckOption = Annotated[bool, typer.Option("--no-check", help="Do not ask the broker what the key may do.")]
SameAccountOption = Annotated[
    bool,
    typer.Option("--same-account", help="You know that the key is of the same account, where nija cannot find it out."),
]
