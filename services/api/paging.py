"""Defines the form of a page: its rows, and the text with which a client asks for the next page.

That text names the last row, such as `kraken:alice`. Its form is in the OpenAPI document, and each text of that form is
accepted: a row that is gone meanwhile still has a place in the order.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from services.api.parameters import ASSET_FORM, BROKER_FORM, FOLLOWER_FORM
from shared.queries.accounts import AccountPageKey
from shared.queries.pages import FillKey, FollowerKey, OrderKey, Page, PageKey, PositionKey

Item = TypeVar("Item")
Key = TypeVar("Key", bound=PageKey)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FORMS: Final = {
    "published_at": "[0-9]{1,16}",  # microseconds since 1970
    "sequence": "[0-9]{1,17}",
    "broker": BROKER_FORM,
    "follower_id": FOLLOWER_FORM,
    "asset": ASSET_FORM,
}


def _after(kind: type[PageKey]) -> Any:
    names = list(kind.model_fields)
    form = ":".join(_FORMS[name] for name in names)
    if kind is AccountPageKey:
        form = f"{BROKER_FORM}(?::{FOLLOWER_FORM})?"  # a master has no follower id
    description = f"`next` of the page before ({':'.join(names)}). Leave it out for the first page."
    return Query(pattern=f"^{form}$", description=description)


Limit = Annotated[int, Query(ge=1, le=500, description="Rows of a page.")]
AfterFill = Annotated[str | None, _after(FillKey)]
AfterOrder = Annotated[str | None, _after(OrderKey)]
AfterFollower = Annotated[str | None, _after(FollowerKey)]
AfterPosition = Annotated[str | None, _after(PositionKey)]
AfterAccount = Annotated[str | None, _after(AccountPageKey)]


class ListPage(BaseModel, Generic[Item]):
    """A page of a list."""

    model_config = ConfigDict(frozen=True)

    items: Sequence[Item]
    next: str | None = Field(description="Give it as `after` to get the next page; null: this is the last one.")

    @classmethod
    def of(cls, page: Page[Item]) -> "ListPage[Item]":
        return cls(items=page.items, next=None if page.next_key is None else text_of(page.next_key))


def key_of(kind: type[Key], after: str | None) -> Key | None:
    """The row behind which the page begins. `after` has the form that the parameter of its route requires."""
    if after is None:
        return None
    names = list(kind.model_fields)
    values: dict[str, Any] = dict.fromkeys(names)
    values |= dict(zip(names, after.split(":", len(names) - 1), strict=False))
    if "published_at" in values:
        values["published_at"] = _EPOCH + int(values["published_at"]) * _MICROSECOND
    return kind.model_validate(values)


def text_of(key: PageKey) -> str:
    """The text from which `key_of` makes the key again."""
    values = [getattr(key, name) for name in type(key).model_fields]
    return ":".join(
        str((value - _EPOCH) // _MICROSECOND) if isinstance(value, datetime) else str(value)
        for value in values
        if value is not None
    )
