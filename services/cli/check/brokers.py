"""`nija check brokers`: answers whether every configured broker is connected and served."""

from collections.abc import Sequence
from typing import Annotated

import typer

from services.cli import output
from services.cli.arguments import chosen_broker
from services.cli.check.options import BrokerOption, JsonOption
from services.local_system.record import settings_of_running_system
from shared.config import load_settings
from shared.config.operator import open_connections
from shared.queries.broker_facts import BrokerFacts
from shared.queries.brokers import read_expected_brokers


def check_brokers(
    broker: BrokerOption = None,
    one_is_enough: Annotated[
        bool, typer.Option("--any", help="One broker that is connected and served is enough for exit code 0.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """0 if every configured broker is connected and served; with --any, if one is.

    Connected: its master's account was polled lately. Served: a copy engine and a worker are alive, and nothing waits
    for them. The last lines say what is missing. A stop (`nija stop`) is shown and does not change the exit code.
    """
    where = chosen_broker(broker)
    with output.progress("asking"):
        settings = settings_of_running_system(load_settings())
        with open_connections(settings, redis=True, check=False) as connections:
            found = read_expected_brokers(connections, settings.enabled_brokers(), where)
    good = [facts for facts in found if facts.connected and facts.served]
    if as_json:
        _print_brokers_as_json(found)
    else:
        _print_brokers(found)
    if not good or (len(good) < len(found) and not one_is_enough):
        raise typer.Exit(1)


def _print_brokers_as_json(found: Sequence[BrokerFacts]) -> None:
    output.print_json(
        {
            "brokers": [facts.broker.value for facts in found],
            "connected": [facts.broker.value for facts in found if facts.connected],
            "served": [facts.broker.value for facts in found if facts.served],
            "stopped": {
                facts.broker.value: facts.stop.broker_mode.value
                for facts in found
                if facts.stop and facts.stop.broker_mode
            },
            "findings": [each.model_dump(mode="json") for facts in found for each in facts.shortcomings()],
        }
    )


def _print_brokers(found: Sequence[BrokerFacts]) -> None:
    for word, names in (
        ("connected", [facts.broker.value for facts in found if facts.connected]),
        ("served", [facts.broker.value for facts in found if facts.served]),
    ):
        listed = f" ({', '.join(names)})" if names else ""
        output.console.print(f"{word}: {len(names)} of {len(found)}{listed}")
    for facts in found:
        if facts.stop and facts.stop.broker_mode:
            output.console.print(f"stopped: {facts.broker.value} ({facts.stop.broker_mode.value})")
        for finding in facts.shortcomings():
            output.console.print(f"✗ {finding.line}")
