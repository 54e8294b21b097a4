"""Defines the command `nija`: registers every command and turns errors into one line and an exit code.

Each command is a function in a module of its own. It parses arguments, calls one action or query, and prints. Exit
codes: 0 good, 1 a finding, 2 wrong use or a wrong setting.
"""

import os
import sys
from typing import Annotated, Final

import typer
from redis.exceptions import RedisError

from services.cli import output
from services.cli.first_use import CommandOnFirstUse, group_of
from services.local_system.errors import NothingRuns
from shared.actions.errors import ChangeNotAnnounced, ChangeNotRead
from shared.config import misspelt_variables, secrets_among
from shared.domain.errors import NijaError
from shared.messaging.connection.errors import RedisUnavailable
from shared.observability.logging import configure_logging
from shared.observability.start import DEBUG_VARIABLE, REFUSED, start_of
from shared.persistence.errors import DatabaseUnavailable, ImportRefused
from shared.queries.capital.errors import AccountNotRead

FINDING: Final = 1
"""Exit code when a server is away or nothing runs: the command was right, and there is no answer now."""
AWAY: Final = (DatabaseUnavailable, RedisUnavailable, ChangeNotAnnounced, ChangeNotRead, AccountNotRead)
"""A server is away, before a change or after it."""


class RedisDoesNotAnswer(NijaError):
    """Redis does not answer, or answers with an error."""


COMMANDS: Final = (
    CommandOnFirstUse(
        "demo",
        "Run",
        "services.cli.demo:demo",
        "Run the whole system on paper brokers: a person trades, the followers copy, every copy is checked.",
    ),
    CommandOnFirstUse(
        "up",
        "Run",
        "services.cli.up:up",
        "Run every process on this machine until Ctrl-C; a process that dies is started again.",
    ),
    CommandOnFirstUse(
        "status",
        "See",
        "services.cli.status:status",
        "Show every process, and for each broker the master, the mailboxes and the last fill.",
    ),
    CommandOnFirstUse(
        "health",
        "See",
        "services.cli.health:health",
        "Show all findings, and the texts after which an outcome was unknown in the last seven days, by broker and text.",
    ),
    CommandOnFirstUse(
        "brokers",
        "See",
        "services.cli.brokers:brokers",
        "Show each broker: connected, served, funded, equity, health, queue, circuit, rate limits, fees and followers.",
    ),
    CommandOnFirstUse(
        "accounts",
        "See",
        "services.cli.accounts:accounts",
        "Show the balance of every master and follower account: total = available + locked, in US dollars.",
    ),
    CommandOnFirstUse(
        "masters",
        "See",
        "services.cli.masters:masters_app",
        "The accounts whose fills are copied: list.",
    ),
    CommandOnFirstUse(
        "subscriptions",
        "See",
        "services.cli.masters:subscriptions_app",
        "Which follower copies which master: list.",
    ),
    CommandOnFirstUse(
        "fills",
        "See",
        "services.cli.ledger.fills:fills",
        "Show the masters' fills, newest first, and how each ended for the followers.",
    ),
    CommandOnFirstUse(
        "orders",
        "See",
        "services.cli.ledger.orders:orders",
        "Show the followers' copy orders, those of the newest fill first.",
    ),
    CommandOnFirstUse(
        "positions",
        "See",
        "services.cli.ledger.positions:positions",
        "Show the followers' copied positions.",
    ),
    CommandOnFirstUse(
        "replay",
        "See",
        "services.cli.ledger.replay:replay",
        "Compute the decisions for a past fill again, from the inputs in the ledger.",
    ),
    CommandOnFirstUse(
        "explain",
        "See",
        "services.cli.explain:explain_decision",
        "Show why a trade was made or not: each value, what it was compared with, and which limit decided the size.",
    ),
    CommandOnFirstUse(
        "capital",
        "See",
        "services.cli.capital.app:app",
        "The capital of a master account: balances, margin, leverage, sizes, and whether an entry may be placed.",
    ),
    CommandOnFirstUse(
        "paper-accounts",
        "Run",
        "services.cli.paper_accounts:paper_accounts",
        "Make a master and a few followers at the paper brokers that `{BROKER}_BASE_URL` name, and write FOLDER/paper.env.",
    ),
    CommandOnFirstUse(
        "check",
        "See",
        "services.cli.check.app:app",
        "Questions for a monitoring script: exit code 0 yes, 1 no or a finding, 2 wrong use.",
    ),
    CommandOnFirstUse(
        "reconcile",
        "Change",
        "services.cli.ledger.reconcile:reconcile",
        "Compare what followers really hold and have ordered with what the ledger says that they copied.",
    ),
    CommandOnFirstUse(
        "migrate",
        "Change",
        "services.cli.migrate:migrate_database",
        "Apply the missing migrations to DATABASE_URL, or to the database of the nija that runs here.",
    ),
    CommandOnFirstUse(
        "followers",
        "Change",
        "services.cli.followers.app:app",
        "The accounts that copy: add, import, show, pause, resume, remove.",
    ),
    CommandOnFirstUse(
        "stop",
        "Change",
        "services.cli.stop:stop",
        "Stop trading at all brokers, at one broker or for one follower, until `nija resume`.",
    ),
    CommandOnFirstUse(
        "resume",
        "Change",
        "services.cli.stop:resume",
        "End a stop of all brokers, of one broker or of one follower. Stops of other scopes stay.",
    ),
    CommandOnFirstUse(
        "tokens",
        "Change",
        "services.cli.tokens:app",
        "The tokens that open the API: add, list, revoke.",
    ),
    CommandOnFirstUse(
        "chaos",
        "Measure",
        "services.cli.chaos:chaos",
        "Break the whole system on purpose, on paper brokers, and check that no order was doubled or lost.",
    ),
    CommandOnFirstUse(
        "backtest",
        "Measure",
        "services.cli.backtest:backtest",
        "Run the strategy over a candle file with a broker's fees, or check that it sees nothing of the future.",
    ),
    CommandOnFirstUse(
        "bench",
        "Measure",
        "services.cli.bench:app",
        "Measure nija on this machine, with servers of its own; in a checkout of the repository.",
    ),
)
"""In the order of `nija --help`."""

app = typer.Typer(
    name="nija",
    cls=group_of(COMMANDS),
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"nija {version('nija')}")
        raise typer.Exit


@app.callback()
def nija(
    debug: Annotated[bool, typer.Option("--debug", help="Print a traceback with an error (NIJA_DEBUG=1).")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Copy the trades of master accounts to follower accounts, each fill to each follower once.

    Begin with `nija demo`: it runs the whole system on paper brokers and needs no setting. `nija up --paper` keeps
    it running; `nija status`, `fills`, `orders` and `positions` in the same folder show what it does.

    Settings come from the environment, `.env` and `nija.toml` of this folder; data is kept in `.nija` (NIJA_HOME).
    Exit codes: 0 good, 1 something is found or away, 2 wrong use or a wrong setting. With --json, commands print
    one JSON document on standard output and nothing else.
    """


def program() -> None:
    """Run the command line as a process, with its log on standard error.

    Standard output is for the result: with --json a log line would spoil the document.
    """
    configure_logging("nija", level="warning", output_format="console", secrets=secrets_among(os.environ))
    main()


def main() -> None:
    """Run the command line. An error is one text on standard error, with a traceback only for `--debug`."""
    output.outlive_readers()
    for name, meant in misspelt_variables(os.environ).items():
        sys.stderr.write(f"nija: the variable {name} is not a setting; did you mean {meant}?\n")
    secrets = secrets_among(os.environ)
    with start_of("nija", debug=_is_debug(sys.argv)) as start:
        start.conceal(secrets)
        try:
            try:
                app()
            finally:
                sys.stdout.flush()  # here an error can still be reported
        except (*AWAY, NothingRuns, output.OutputLost) as error:
            start.fail(error, FINDING)
        except ImportRefused as error:
            # Its text has a line for each row.
            sys.stderr.write(f"nija: {error}\n")
            sys.exit(REFUSED)
        except RedisError as error:
            start.fail(RedisDoesNotAnswer(f"Redis does not answer: {error}"), FINDING)


def _is_debug(arguments: list[str]) -> bool:
    """Take `--debug` out of the arguments at any place: a user adds it to the end of the command that failed."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    given = "--debug" in arguments[:end]
    arguments[:end] = [each for each in arguments[:end] if each != "--debug"]
    if given:
        # The processes that this one starts print their tracebacks too.
        os.environ[DEBUG_VARIABLE] = "1"
    return given


if __name__ == "__main__":
    program()
