"""Defines the form of a page: its rows, and the text with which a client asks for the next page."""

import base64
from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from services.api.problems import not_valid
from shared.queries.pages import Page, PageKey

Item = TypeVar("Item")
Key = TypeVar("Key", bound=PageKey)

Limit = Annotated[int, Query(ge=1, le=500, description="Rows of a page.")]
After = Annotated[
    str | None,
    Query(max_length=1_000, description="`next` of the page before. Leave it out for the first page."),
]


class Listing(BaseModel, Generic[Item]):
    """A page of a list."""

    model_config = ConfigDict(frozen=True)

    items: Sequence[Item]
    next: str | None = Field(description="Give it as `after` to get the next page; null: this is the last one.")

    @classmethod
    def of(cls, page: Page[Item]) -> "Listing[Item]":
        return cls(items=page.items, next=None if page.next_key is None else _text_of(page.next_key))


def key_of(kind: type[Key], after: str | None) -> Key | None:
    """The row behind which the page begins. Raises RequestRefused for a text that is no `next` of this list."""
    if after is None:
        return None
    try:
        padded = after + "=" * (-len(after) % 4)
        return kind.model_validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, OverflowError):
        raise not_valid("query.after", "should be `next` of a page of this list, or be left out") from None


def _text_of(key: PageKey) -> str:
    return base64.urlsafe_b64encode(key.model_dump_json().encode()).decode().rstrip("=")
