"""`nija status`: shows the processes, the brokers and everything that is wrong.

Each server is asked separately, so that the rest is shown when one does not answer. Exit code 1: there is a finding.
"""

from functools import partial
from typing import Annotated

import typer

from services.cli import output
from services.cli.status_view import print_status
from services.local_system.errors import LocalSystemError
from services.local_system.record import settings_of_running_system
from services.local_system.run_facts import read_run
from shared.config import Settings, load_settings
from shared.config.operator import open_connections
from shared.queries.status import SystemStatus
from shared.queries.system import system_status


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show every process, and for each broker the master, the mailboxes and the last fill.

    With a running `nija up` in this folder it needs no setting. Otherwise REDIS_URL and DATABASE_URL say what to ask.
    The last lines are findings: what is wrong and what to do. Exit code 0: nothing is found; 1: something is.
    """
    with output.progress("asking"):
        found = collect(load_settings())
    findings = found.findings()
    if as_json:
        shown = {"healthy": not findings, "findings": [each.model_dump(mode="json") for each in findings]}
        output.print_json({**shown, **found.model_dump(mode="json")})
    else:
        print_status(found, findings)
    if findings:
        raise typer.Exit(1)


def collect(settings: Settings) -> SystemStatus:
    """Ask all servers that can be reached. Raises ConfigurationError for wrong settings only."""
    here = read_run(settings.home)
    ask = partial(system_status, home=str(settings.home), run=here.run, processes=here.processes)
    try:
        reached = settings_of_running_system(settings)
    except LocalSystemError as error:
        return ask(None, (), unreachable=str(error))
    with open_connections(reached, redis=True, check=False) as connections:
        return ask(connections, reached.enabled_brokers())
