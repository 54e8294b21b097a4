"""`nija explain`: shows why the strategy traded or not, with every value that led to a recorded decision."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from services.cli import output
from services.cli.arguments import reached_settings
from shared.config import ConfigurationError
from shared.config.operator import open_connections
from shared.queries.traders import StrategyRecord, read_decision

_LATER = ("decision", "inputs", "signal", "bounds", "decided_by", "gate", "position", "reasons")
"""Parts of a decision that have tables of their own."""


def explain(
    decision_id: Annotated[
        str, typer.Argument(metavar="DECISION", help="As `nija check positions` and the log of the trader show it.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show why the strategy traded or not, with every value that led to a recorded decision.

    The values are those of the market, of the account, of the limits of the size, and of the capital gate's answer.
    """
    with open_connections(reached_settings()) as connections, output.progress("reading the decision"):
        found = read_decision(connections, decision_id)
    if found is None:
        raise ConfigurationError(
            f"there is no decision {decision_id!r}: `nija check positions` and the log of the trader name decisions"
        )
    if as_json:
        output.print_json(found.model_dump(mode="json"))
    else:
        _print(found)


def _print(found: StrategyRecord) -> None:
    say, decision = output.console.print, found.decision
    say(f"{found.decision_id}: {found.kind} {found.symbol} at {found.broker.value}, cycle {found.cycle}")
    say(f"decided at {output.moment_with_zone(found.decided_at)}")
    for reason in decision.get("reasons", ()):
        say(f"because: {reason}")
    if "reason" in decision:
        say(f"because: {decision['reason']}")
    say(f"outcome: {found.outcome or 'nothing was to be done'}\n")
    inputs = decision["inputs"]
    _table("decided", {name: value for name, value in decision.items() if name not in _LATER})
    _table("market", _signal(decision.get("signal")))
    for name in ("technical", "candle", "account", "position", "parameters"):
        _table(name, inputs.get(name))
    _table("candles", {name: inputs[name] for name in ("first_candle", "last_candle", "candles", "faults")})
    _bounds(decision)
    _gate(found.gate)


def _signal(signal: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if signal is None else dict(signal)


def _bounds(decision: Mapping[str, Any]) -> None:
    """Print the limits of the size, and which of them decided."""
    decided_by = (decision.get("decided_by") or {}).get("name")
    _table(
        "limits of the size in USD",
        {
            each["name"]: f"{each['usd']}{'  ← decided' if each['name'] == decided_by else ''}"
            for each in decision.get("bounds", ())
        },
    )
    _table("question to the capital gate", decision.get("gate"))


def _gate(answer: Mapping[str, Any] | None) -> None:
    """Print the answer of the capital gate, step by step."""
    if answer is None:
        return
    bound = answer.get("decided_by")
    steps = {each["name"]: each for each in answer.get("adjustments", ())}
    _table(
        "answer of the capital gate",
        {name: value for name, value in answer.items() if name not in ("adjustments", "odds")},
    )
    _table(
        "size after each step of the gate, in USD",
        {
            name: f"{each['size']}  (× {each['factor']}){'  ← decided' if name == bound else ''}"
            for name, each in steps.items()
        },
    )
    _table("odds", answer.get("odds"))


def _table(title: str, values: Mapping[str, Any] | None) -> None:
    rows = list(_rows(values or {}))
    if not rows:
        return
    shown = output.table(title, header=False)
    shown.add_column(no_wrap=True, overflow="fold")
    output.text_columns(shown, "")
    for name, value in rows:
        shown.add_row(name, value)
    output.show(shown)


def _rows(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Return one row for each value. The name of a value within another one has the outer name in front."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", ", ".join(map(str, value)) or "–"
        else:
            yield f"{prefix}{name}", "–" if value is None else str(value)
