"""Checks the actor and the reason that every change records, before anything is changed."""

from typing import Final

from shared.actions.errors import ActionRefused
from shared.persistence.database import is_storable

LONGEST: Final = 500
"""Characters of an actor or a reason."""


def require_recordable(actor: str, reason: str) -> None:
    """Raise ActionRefused when PostgreSQL could not store the actor or the reason, or when the actor is empty.

    An action calls this first. Otherwise Redis could accept a change whose record PostgreSQL refuses afterwards.
    """
    if not actor.strip():
        raise ActionRefused("the actor is missing: name the person or the program that makes the change")
    for name, text in (("actor", actor), ("reason", reason)):
        if len(text) > LONGEST:
            raise ActionRefused(f"the {name} has {len(text)} characters: give at most {LONGEST}")
        if not is_storable(text):
            raise ActionRefused(f"the {name} has a character that cannot be stored (NUL, or no valid UTF-8): remove it")
