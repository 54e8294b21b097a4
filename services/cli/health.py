"""`nija health`: shows what is wrong, and in which words brokers answered orders without a clear outcome.

Exit code 1: there is a finding.
"""

from typing import Annotated

import typer

from services.cli import output
from services.cli.status import collect
from services.local_system.errors import LocalSystemError
from services.local_system.record import settings_of_running_system
from shared.config import Settings, load_settings
from shared.config.operator import open_connections
from shared.persistence.errors import DatabaseUnavailable, DatabaseUnusable, SchemaOutdated
from shared.queries.health import COUNTED, UnknownText, read_unknown_texts


def health(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show all findings, and the texts after which an outcome was unknown in the last seven days, by broker and text.

    A text that is on no list of the broker's refusals is an unknown outcome for its order, and is looked up. A text that
    comes again and again should be reported, so that it gets onto the list. Exit code 0: no finding; 1: there is one.
    """
    settings = load_settings()
    with output.progress("asking"):
        findings = collect(settings).findings()
        texts = _texts(settings)
    if as_json:
        output.print_json(
            {
                "healthy": not findings,
                "findings": [each.model_dump(mode="json") for each in findings],
                "unknown_texts": [each.model_dump(mode="json") for each in texts],
            }
        )
    else:
        for finding in findings:
            where = f"{finding.broker.value}: " if finding.broker else ""
            output.console.print(f"{where}{finding.message}")
        _show(texts)
        if not findings:
            output.console.print("everything is well")
    if findings:
        raise typer.Exit(1)


def _texts(settings: Settings) -> list[UnknownText]:
    """The counts. Without a database there are none, and a finding says so."""
    try:
        with open_connections(settings_of_running_system(settings)) as connections:
            return read_unknown_texts(connections)
    except (LocalSystemError, DatabaseUnavailable, DatabaseUnusable, SchemaOutdated):
        return []


def _show(texts: list[UnknownText]) -> None:
    if not texts:
        return
    table = output.table(f"outcomes that were unknown, last {COUNTED.days} days")
    output.text_columns(table, "broker")
    output.message_column(table, "words")
    output.number_columns(table, "sends", "orders")
    output.text_columns(table, output.when_heading())
    for each in texts:
        row = (each.broker.value, output.short_message(each.words), str(each.sends), str(each.orders))
        table.add_row(*row, output.moment(each.last_at))
    output.show(table)
