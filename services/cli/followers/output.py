"""Prints followers as tables or as JSON, with their keys masked, and the results of changes."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from services.cli import output
from shared.actions.resume_followers import ResumedFollowers
from shared.domain.amounts import plain
from shared.domain.copying.follower import FollowerStatus
from shared.queries.followers import FollowerChange, FollowerDetails, FollowerList, FollowerRecord, PositionLine


def record_json(record: FollowerRecord) -> dict[str, Any]:
    """A follower as a JSON object."""
    return {
        "broker": record.broker.value,
        "follower_id": record.follower_id,
        "source": record.source.value,
        "status": record.status.value,
        "status_reason": record.status_reason,
        "status_changed_at": record.status_changed_at.isoformat(),
        "policy": record.policy.model_dump(mode="json") if record.policy else None,
        "joined_sequence": record.joined_sequence,
        "created_at": record.created_at.isoformat(),
        "revision": record.revision,
    }


def change_json(change: FollowerChange) -> dict[str, Any]:
    """One recorded change as a JSON object."""
    return {
        "change": change.change,
        "before": change.before,
        "after": change.after,
        "actor": change.actor,
        "reason": change.reason,
        "occurred_at": change.occurred_at.isoformat(),
    }


def details_json(found: FollowerDetails) -> dict[str, Any]:
    """A follower with its masked key and its history as a JSON object."""
    key = found.key.model_dump(mode="json") if found.key else None
    return record_json(found.follower) | {"key": key, "changes": [change_json(each) for each in found.changes]}


def print_result(record: FollowerRecord, what: str, *, as_json: bool) -> None:
    """Print a follower after a change; `what` completes the sentence."""
    if as_json:
        output.print_json(record_json(record))
    else:
        output.console.print(f"{record.follower_id} at {record.broker.value} {what}")


def print_resumed(found: ResumedFollowers, *, as_json: bool) -> None:
    """Print the followers that copy again, and those that stay disabled with the reason."""
    print_notes(found.notes)
    if as_json:
        resumed = [{"broker": broker.value, "follower_id": follower_id} for broker, follower_id in found.resumed]
        still = [
            {"broker": broker.value, "follower_id": follower_id, "reason": reason}
            for (broker, follower_id), reason in found.still_disabled.items()
        ]
        output.print_json({"resumed": resumed, "still_disabled": still})
        return
    output.console.print(f"{output.counted(len(found.resumed), 'follower')} resumed")
    for (broker, follower_id), reason in found.still_disabled.items():
        output.console.print(f"{follower_id} at {broker.value} stays disabled: {reason}")


def print_notes(notes: Iterable[str]) -> None:
    """Print lines that the operator should read on standard error."""
    for note in notes:
        sys.stderr.write(f"nija: {note}\n")


def same_key(record: FollowerRecord) -> str:
    """The result of `replace-key` with the key that is stored already."""
    what = "has this key already: it is the one that is stored, and nothing was changed"
    if record.status is FollowerStatus.DISABLED:
        what += "; `nija followers resume` lets the follower copy again"
    return what


def stays_open(held: Sequence[PositionLine]) -> str:
    """The positions that stay in the market after a removal."""
    amounts = ", ".join(f"{plain(each.quantity)} {each.asset}" for each in held)
    return f"stay open: {amounts}; nija will not sell them"


def print_list(found: FollowerList) -> None:
    """Print the table of `nija followers list`."""
    names = [line.broker.value for line in found.present] + [record.broker.value for record in found.removed]
    several, where = output.at_brokers(names)
    with_reasons = any(line.status_reason for line in found.present) or bool(found.removed)
    table = output.table(f"followers{where}")
    output.text_columns(table, *(["broker"] if several else []), "follower", "status", "source")
    if with_reasons:
        output.message_column(table, "why")
    output.number_columns(table, "copied", "skipped", "failed", "pending")
    for line in found.present:
        counts = [str(count) for count in (line.copied, line.skipped, line.failed, line.pending)]
        place = [line.broker.value] if several else []
        why = [line.status_reason] if with_reasons else []
        table.add_row(*place, line.follower_id, line.status, line.source, *why, *counts)
    for record in found.removed:
        place = [record.broker.value] if several else []
        why = [record.status_reason] if with_reasons else []
        table.add_row(*place, record.follower_id, record.status.value, record.source.value, *why)
    if names:
        output.show(table)
    removed = f", {len(found.removed)} removed" if found.removed else ""
    output.console.print(output.counted(len(found.present), "follower") + removed)


def print_follower(found: FollowerDetails) -> None:
    """Print the tables of `nija followers show`."""
    record = found.follower
    key = found.key.model_dump(mode="json") if found.key else {"api_key": "wiped"}
    facts = output.table(header=False)
    output.text_columns(facts, "", "")
    for_people: dict[str, Any] = {
        "status_changed_at": output.moment_with_zone(record.status_changed_at),
        "created_at": output.moment_with_zone(record.created_at),
    }
    if record.policy is None:
        for_people["policy"] = "cannot be read: a newer version of nija wrote it"
    for name, value in (record_json(record) | for_people | key).items():
        facts.add_row(name.replace("_", " "), in_words(value))
    output.show(facts)
    history = output.table("changes, newest first")
    output.text_columns(history, output.when_heading(), "what", "before", "after", "who", "why")
    for change in found.changes:
        history.add_row(
            output.moment(change.occurred_at),
            change.change,
            change.before or "",
            change.after or "",
            change.actor,
            change.reason,
        )
    output.show(history)


def in_words(value: Any) -> str:
    """A value of a JSON document as a person reads it: {"minimum_notional": "1"} is "minimum notional 1"."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{name.replace('_', ' ')} {in_words(each)}" for name, each in value.items()) or "–"
        case list() | tuple():
            return ", ".join(map(in_words, value)) or "–"
    return str(value)
