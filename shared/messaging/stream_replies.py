"""Reads Redis's replies to XREAD and XREADGROUP, whose form depends on the protocol version and on redis-py."""

from collections.abc import Mapping
from typing import Any


def entries_of_one_stream(reply: Any) -> list[tuple[bytes | str, Mapping[Any, Any] | None]]:
    """Return the entries, as id and fields, in a reply about one stream; none when the time was over.

    The fields are None where the entry was trimmed meanwhile. RESP2 answers with a list of pairs; RESP3 answers with
    a map, and wraps its values once more.
    """
    if not reply:
        return []
    entries = next(iter(reply.values())) if isinstance(reply, dict) else reply[0][1]
    if len(entries) == 1 and isinstance(entries[0], list):
        entries = entries[0]
    return list(entries)


def text_of(value: bytes | str) -> str:
    """Return a name, an id or a value as text; bytes that are not UTF-8 stay visible as escapes."""
    return value.decode("utf-8", errors="backslashreplace") if isinstance(value, bytes) else value
