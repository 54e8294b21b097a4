"""Defines the command `nija`: registers every command and turns errors into one line and an exit code.

Each command is a function in a module of its own. It parses arguments, calls one action or query, and prints. Exit
codes: 0 good, 1 a finding, 2 wrong use or a wrong setting.
"""

import os
import sys
from importlib.metadata import version
from typing import Annotated, Final

import typer
from redis.exceptions import RedisError

from services.cli import bench, output
from services.cli.accounts import accounts
from services.cli.brokers import brokers
from services.cli.chaos import chaos
from services.cli.check.app import app as check
from services.cli.demo import demo
from services.cli.followers.app import app as followers
from services.cli.ledger.fills import fills
from services.cli.ledger.orders import orders
from services.cli.ledger.positions import positions
from services.cli.ledger.reconcile import reconcile
from services.cli.ledger.replay import replay
from services.cli.migrate import migrate_database
from services.cli.paper_accounts import paper_accounts
from services.cli.status import status
from services.cli.up import up
from services.local_system.errors import NothingRuns
from shared.actions.errors import ChangeNotAnnounced, ChangeNotRead
from shared.config import misspelt_variables, secrets_among
from shared.domain.errors import NijaError
from shared.messaging.connection.errors import RedisUnavailable
from shared.observability.logging import configure_logging
from shared.observability.start import DEBUG_VARIABLE, REFUSED, start_of
from shared.persistence.errors import DatabaseUnavailable, ImportRefused

FINDING: Final = 1
"""Exit code when a server is away or nothing runs: the command was right, and there is no answer now."""
AWAY: Final = (DatabaseUnavailable, RedisUnavailable, ChangeNotAnnounced, ChangeNotRead)
"""A server is away, before a change or after it."""


class RedisDoesNotAnswer(NijaError):
    """Redis does not answer, or answers with an error."""


app = typer.Typer(name="nija", no_args_is_help=True, pretty_exceptions_show_locals=False, rich_markup_mode="markdown")
app.command("demo", rich_help_panel="Run")(demo)
app.command("up", rich_help_panel="Run")(up)
app.command("status", rich_help_panel="See")(status)
app.command("brokers", rich_help_panel="See")(brokers)
app.command("accounts", rich_help_panel="See")(accounts)
app.command("fills", rich_help_panel="See")(fills)
app.command("orders", rich_help_panel="See")(orders)
app.command("positions", rich_help_panel="See")(positions)
app.command("replay", rich_help_panel="See")(replay)
app.command("paper-accounts", rich_help_panel="Run")(paper_accounts)
app.add_typer(check, name="check", rich_help_panel="See")
app.add_typer(followers, name="followers", rich_help_panel="Change")
app.command("reconcile", rich_help_panel="Change")(reconcile)
app.command("migrate", rich_help_panel="Change")(migrate_database)
app.command("chaos", rich_help_panel="Measure")(chaos)
app.add_typer(bench.app, name="bench", rich_help_panel="Measure")


def _print_version(wanted: bool) -> None:
    if wanted:
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
