"""Shows amounts as JSON numbers, in answers about capital and in their description.

Inside nija an amount is an exact decimal. Answers about capital are read by charts and scripts, which want numbers.
"""

import types
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, create_model

from shared.queries.capital.models import with_numbers
from shared.queries.capital.sources import AccountName


def number_answer(answer: BaseModel, name: AccountName | None = None) -> Response:
    """The answer as a JSON document with numbers, with the account that it is about."""
    shown = with_numbers(answer)
    if not isinstance(shown, dict):
        raise TypeError(f"an answer is a {type(answer).__name__}")
    if name is not None:
        shown |= {"broker": name.broker.value, "account": name.account}
    return JSONResponse(shown)


def of_account(kind: type[BaseModel]) -> type[BaseModel]:
    """Describe `number_answer` of this kind, with an account."""
    return create_model(
        f"{kind.__name__}OfAccount", __doc__=kind.__doc__, __base__=numeric(kind), broker=(str, ...), account=(str, ...)
    )


@cache
def numeric(kind: type[BaseModel]) -> type[BaseModel]:
    """Describe `number_answer` of this kind: amounts and durations are numbers, and no field is missing."""
    fields: dict[str, Any] = {
        name: (_shown(each.annotation), ...) for name, each in kind.model_fields.items() if not each.exclude
    }
    return create_model(kind.__name__, __doc__=kind.__doc__, **fields)


def _shown(annotation: Any) -> Any:
    """The type of a value as JSON shows it."""
    if annotation in (Decimal, timedelta):
        return float
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return numeric(annotation)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is None or origin is Literal:
        return annotation
    if origin is Annotated:
        inner = _shown(parts[0])
        return annotation if inner is parts[0] else inner
    shown = tuple(part if part is Ellipsis else _shown(part) for part in parts)
    if origin in (Union, types.UnionType):
        return Union[shown]  # noqa: UP007  # built from a tuple
    return origin[shown]
