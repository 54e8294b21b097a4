"""Defines the reactions to a broker's refusal, and the form in which each broker's folder lists its refusals.

A list holds every documented refusal of the requests that nija sends. A text or code that is on no list is an unknown
outcome: the order is looked up, and the broker's words are reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Reaction(Enum):
    """What the caller does next. Each member stands for one class of `shared.brokers.errors`."""

    REJECT = auto()
    """The broker certainly refused the request. Do not send it again."""
    NOT_ENOUGH_MONEY = auto()
    """As REJECT; the account has too little of what the order spends."""
    NOT_FOUND = auto()
    """As REJECT; the broker has no such order."""
    NOT_LISTED = auto()
    """As REJECT; the broker has no such pair."""
    EXPIRED = auto()
    """The request arrived after its deadline and was not executed. Send it again."""
    CLOCK = auto()
    """Certainly refused because of its nonce or time. Send it again with a fresh one."""
    SLOW_DOWN = auto()
    """Too many requests, and this one was certainly not executed. Send it again after the wait."""
    KEY = auto()
    """The broker refuses the key, its address or the whole account. The next order would fail as well."""
    BUSY = auto()
    """The broker is busy, closed or in trouble, and may have executed the request. Look it up. The circuit counts it."""
    LOOK_UP = auto()
    """An order of this id exists, or the answer does not show the outcome. Look it up. The broker itself works."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusals of one broker that have the same reaction and the same source."""

    reaction: Reaction
    source: str
    """Where the broker documents them, or what recorded them."""
    known: tuple[str, ...]
    """Codes or texts, in the broker's own spelling."""


def codes(text: str) -> tuple[str, ...]:
    """The codes in a text, which are separated by blanks."""
    return tuple(text.split())


def reactions(groups: Sequence[Refusals]) -> dict[str, Reaction]:
    """Code or text → reaction. Raises ValueError when one of them is listed twice."""
    found: dict[str, Reaction] = {}
    for group in groups:
        for known in group.known:
            if known in found:
                raise ValueError(f"{known!r} is listed twice")
            found[known] = group.reaction
    return found


def longest_beginning(text: str, table: dict[str, Reaction]) -> Reaction | None:
    """The reaction to the longest known text that `text` begins with; None when there is none."""
    known = max((known for known in table if text.startswith(known)), key=len, default=None)
    return None if known is None else table[known]
