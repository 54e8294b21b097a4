"""How `nija followers` shows followers: records in, a table or JSON on stdout out. Keys only masked."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.cli import output
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.persistence.followers.records import FollowerChange, FollowerRecord
from shared.persistence.reports.reports import FollowerLine


def masked(credentials: Credentials) -> dict[str, Any]:
    """What may be shown of a key: its end, and a fingerprint that tells it from others."""
    text = credentials.api_key.get_secret_value()
    # Of a short key, its end would be a good part of it.
    end = text[-4:] if len(text) >= 16 else ""  # noqa: PLR2004
    return {
        "api_key": f"…{end}",
        "fingerprint": key_hash(credentials.api_key)[:12],
        "api_secret": "***",
        "passphrase": None if credentials.passphrase is None else "***",
        "paper": credentials.paper,
    }


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
    """A line of the audit as a JSON object."""
    return {
        "change": change.change,
        "before": change.before,
        "after": change.after,
        "actor": change.actor,
        "reason": change.reason,
        "occurred_at": change.occurred_at.isoformat(),
    }


def print_list(lines: Sequence[FollowerLine], removed: Sequence[FollowerRecord]) -> None:
    """The table of `nija followers list`."""
    several, where = output.at_brokers(
        [*(line.broker.value for line in lines), *(record.broker.value for record in removed)]
    )
    with_reasons = any(line.status_reason for line in lines) or bool(removed)
    table = output.table(f"followers{where}")
    output.text_columns(table, *(["broker"] if several else []), "follower", "status", "source")
    if with_reasons:
        output.message_column(table, "why")
    output.number_columns(table, "copied", "skipped", "failed", "pending")
    for line in lines:
        counts = [str(count) for count in (line.copied, line.skipped, line.failed, line.pending)]
        place = [line.broker.value] if several else []
        why = [line.status_reason] if with_reasons else []
        table.add_row(*place, line.follower_id, line.status, line.source, *why, *counts)
    for record in removed:
        place = [record.broker.value] if several else []
        why = [record.status_reason] if with_reasons else []
        table.add_row(*place, record.follower_id, record.status.value, record.source.value, *why)
    if lines or removed:
        output.show(table)
    output.console.print(output.counted(len(lines), "follower") + (f", {len(removed)} removed" if removed else ""))


def print_follower(record: FollowerRecord, key: Mapping[str, Any] | None, changes: Sequence[FollowerChange]) -> None:
    """What `nija followers show` tells of one follower."""
    facts = output.table(header=False)
    output.text_columns(facts, "", "")
    for_people: dict[str, Any] = {
        "status_changed_at": output.moment_with_zone(record.status_changed_at),
        "created_at": output.moment_with_zone(record.created_at),
    }
    if record.policy is None:
        for_people["policy"] = "cannot be read: a newer version of nija wrote it"
    for name, value in (record_json(record) | for_people | dict(key or {"api_key": "wiped"})).items():
        facts.add_row(name.replace("_", " "), in_words(value))
    output.show(facts)
    history = output.table("changes, newest first")
    output.text_columns(history, output.when_heading(), "what", "before", "after", "who", "why")
    for change in changes:
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
