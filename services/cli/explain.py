"""`nija explain`: shows why a decision was made, value by value: one of a trader, or one that a backtest recorded."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from services.backtest.records import StrategyRecord, read_records
from services.cli import output
from services.cli.arguments import reached_settings
from shared.config import ConfigurationError
from shared.config.operator import open_connections
from shared.domain.capital.recommendation import Recommendation
from shared.domain.strategy.decide import decide_again
from shared.domain.strategy.decision import Enter, Exit, from_values, to_values
from shared.domain.strategy.explanation import ExplainedPart, Explanation, explain
from shared.queries.traders import read_decision

_MOST_DIFFERING: Final = 20
_MARKS: Final = {True: "yes", False: "no", None: ""}


def explain_decision(
    decision: Annotated[
        str | None,
        typer.Argument(
            help="The id that `nija check positions` and the log of the trader show. In a file of records: its number, "
            "or the time of its candle, such as 2022-01-03T11:55 (UTC); without it: a list."
        ),
    ] = None,
    records: Annotated[Path | None, typer.Option(help="The file that `nija backtest --records` wrote.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most rows of the list.")] = 40,
    again: Annotated[
        bool, typer.Option("--again", help="Compute every decision of the file again; exit code 1: one differs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document with every digit.")] = False,
) -> None:
    """Show why a trade was made or not: each value, what it was compared with, and which limit decided the size.

    Without --records it is a decision of a trader, from the ledger. With --records and without DECISION it lists the
    entries, the rejected ones and the exits of the file, newest first.
    """
    if records is None:
        _explain_recorded(decision, again=again, as_json=as_json)
        return
    numbered = enumerate(read_records(records), start=1)
    if again:
        _compute_again(numbered, as_json=as_json)
        return
    if decision is None:
        _list(numbered, limit, as_json=as_json)
        return
    wanted = _wanted(decision)
    found = [(number, record) for number, record in numbered if _is_meant(number, record, wanted)]
    if not found:
        raise ConfigurationError(f"{records} has no decision {decision}; `nija explain --records FILE` lists some")
    if as_json:
        output.print_json([_as_json(number, record) for number, record in found])
        return
    for number, record in found:
        show_explanation(f"decision {number}", explain(record.decision, record.gate))


def _explain_recorded(decision_id: str | None, *, again: bool, as_json: bool) -> None:
    """Show a decision of a trader, from the ledger."""
    if decision_id is None:
        raise ConfigurationError(
            "DECISION is missing; `nija check positions` and the log of the trader name decisions, "
            "and --records FILE lists those of a backtest"
        )
    with open_connections(reached_settings()) as connections, output.progress("reading the decision"):
        found = read_decision(connections, decision_id)
    if found is None:
        raise ConfigurationError(
            f"there is no decision {decision_id!r}; `nija check positions` and the log of the trader name decisions"
        )
    decision = from_values(found.decision)
    if again and decide_again(decision) != decision:
        output.console.print(f"decision {decision_id} is another one when it is computed again from its own record")
        raise typer.Exit(1)
    if as_json:
        output.print_json(found.model_dump(mode="json"))
        return
    gate = None if found.gate is None else Recommendation.model_validate(found.gate)
    output.console.print(f"{found.symbol} at {found.broker.value}, cycle {found.cycle}")
    output.console.print(f"decided at {output.moment_with_zone(found.decided_at)}")
    output.console.print(f"outcome: {found.outcome or 'nothing was to be done'}")
    show_explanation(f"decision {decision_id}", explain(decision, gate))


def _compute_again(numbered: Iterator[tuple[int, StrategyRecord]], *, as_json: bool) -> None:
    count, differing = 0, []
    with output.progress("computing the decisions again"):
        for number, record in numbered:
            count += 1
            if decide_again(record.decision) != record.decision:
                differing.append(number)
    if as_json:
        output.print_json({"decisions": count, "differing": differing})
    else:
        for number in differing[:_MOST_DIFFERING]:
            output.console.print(f"decision {number} is another one when it is computed again from its own record")
        output.console.print(
            f"{output.counted(count, 'decision')} computed again: {output.counted(len(differing), 'difference')}"
        )
    if differing:
        raise typer.Exit(1)


def show_explanation(title: str, explanation: Explanation) -> None:
    """Print an explanation as tables."""
    output.console.print(f"{title}: {explanation.outcome}")
    for reason in explanation.reasons:
        output.console.print(f"because: {reason}")
    output.console.print()
    for part in explanation.parts:
        _show_part(part)


def _show_part(part: ExplainedPart) -> None:
    shown = output.table(part.title, header=False)
    output.text_columns(shown, "name")
    output.number_columns(shown, "value")
    output.text_columns(shown, "compared with", "holds")
    for each in part.values:
        shown.add_row(each.name, each.value, each.wanted, _MARKS[each.holds])
    output.show(shown)


def _wanted(text: str) -> int | datetime:
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"DECISION is {text!r}; it should be a number, or a time such as 2022-01-03T11:55"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _is_meant(number: int, record: StrategyRecord, wanted: int | datetime) -> bool:
    if isinstance(wanted, int):
        return number == wanted
    return wanted in (record.decision.inputs.last_candle, record.decision.inputs.account.at)


def _list(numbered: Iterator[tuple[int, StrategyRecord]], limit: int, *, as_json: bool) -> None:
    orders = [(number, record) for number, record in numbered if isinstance(record.decision, Enter | Exit)]
    newest = orders[-limit:][::-1]
    if as_json:
        output.print_json([_as_json(number, record) for number, record in newest])
        return
    shown = output.table("entries and exits (UTC)")
    output.number_columns(shown, "decision")
    output.text_columns(shown, "at", "what")
    for number, record in newest:
        shown.add_row(str(number), f"{record.decision.inputs.account.at:%Y-%m-%d %H:%M}", _in_short(record))
    output.show(shown)
    if len(orders) > len(newest):
        output.console.print(f"{len(newest)} of {len(orders)}; --limit shows more")


def _in_short(record: StrategyRecord) -> str:
    decision, gate = record.decision, record.gate
    if isinstance(decision, Exit):
        return f"sell: {decision.reason.value} at {decision.price:,.2f}"
    if gate is not None and not gate.quantity:
        return f"rejected: {', '.join(code.value for code in gate.reason_codes)}"
    return "buy"


def _as_json(number: int, record: StrategyRecord) -> dict[str, object]:
    explanation = explain(record.decision, record.gate)
    return {
        "number": number,
        "outcome": explanation.outcome,
        "reasons": list(explanation.reasons),
        "decision": to_values(record.decision),
        "gate": None if record.gate is None else record.gate.model_dump(mode="json"),
    }
