"""Defines the name of a pair that an account can trade, for example `BTC/USD`."""

from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from shared.domain.errors import InvalidSymbol


class Symbol(str):
    """A base and a quote currency; its text is `BASE/QUOTE`.

    A symbol is its own text, so it is a Redis key, a column's value and a name on the wire without a conversion.
    It is immutable. A share is quoted in its currency like a coin: `AAPL/USD`. The quote is empty for a pair
    that its broker no longer lists and whose name does not show where the quote begins: `XICNXXBT`.
    """

    __slots__ = ()

    def __new__(cls, base: str, quote: str) -> Self:
        """Build the symbol of two currencies. Raises InvalidSymbol when the base is empty or a name holds a slash."""
        if not base or "/" in base or "/" in quote:
            raise InvalidSymbol(f"{base!r} and {quote!r} do not form a symbol; a symbol is BASE/QUOTE, such as BTC/USD")
        return super().__new__(cls, f"{base}/{quote}" if quote else base)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `BASE/QUOTE`, or a name without a known quote. Raises InvalidSymbol for any other text."""
        if isinstance(text, cls):
            return text
        base, _, quote = text.partition("/")
        return cls(base, quote)

    @property
    def base(self) -> str:
        """The currency or share that is bought and sold."""
        return self.partition("/")[0]

    @property
    def quote(self) -> str:
        """The currency that pays; empty when it is not known."""
        return self.partition("/")[2]

    @property
    def currencies(self) -> tuple[str, str]:
        """Base and quote."""
        return self.base, self.quote

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # two arguments, for pickle and copy
        return self.currencies

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate text, and write text."""
        return core_schema.no_info_after_validator_function(
            cls.parse, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )
