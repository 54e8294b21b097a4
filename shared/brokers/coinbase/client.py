"""Extends ccxt's Coinbase client with our tokens and the exception class that `refusals.py` gives to each error.

It receives replies as ccxt read them from the network and raises ccxt exceptions. Their text holds Coinbase's own
words and no secret.
"""

from contextvars import ContextVar
from time import time
from typing import Any

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker
from ccxt.async_support.coinbase import coinbase  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.ccxt.client import SharedClient, request_sent_at
from shared.brokers.ccxt.errors import BackOff, DeadlineElapsed, error_for, shortened
from shared.brokers.clock import MOST_SECONDS_OFF, header_time
from shared.brokers.coinbase.refusals import reaction_to_error, reaction_to_failure
from shared.brokers.coinbase.tokens import LIFE_SECONDS, bearer_token, lifetime
from shared.brokers.refusals import Reaction
from shared.domain.accounts.private_key import MalformedKey, SigningKey, read_private_key

# First digit of an HTTP status.
SUCCESS, SERVER_ERROR = 2, 5
UNAUTHORIZED = 401

RATE_LIMIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 900.0
_MOST_TEXT = 20_000

token_expires_at: ContextVar[int | None] = ContextVar("coinbase_token_expires_at", default=None)
"""Seconds since 1970. Tokens of this task's requests expire then, instead of after the usual two minutes."""


class CoinbaseClient(SharedClient, coinbase):  # type: ignore[misc]  # ccxt ships no type marker
    """One key's requests to Coinbase; the template has no key and sends public requests only."""

    signing_key: SigningKey | None = None

    async def fetch_markets(self, params: dict[str, Any] = {}) -> list[Any]:  # noqa: ARG002, B006  # as in ccxt
        """Read spot markets by one public request. ccxt's own call also reads futures, and hides a broken reply."""
        reply = await self.v3PublicGetBrokerageMarketProducts({})
        products = reply["products"]
        return [
            market
            for each in products
            if each.get("product_type", "SPOT") == "SPOT"
            and (market := self.parse_spot_market({**each, "product_type": "SPOT"}, {})) is not None
        ]

    def sign(
        self,
        path: str,
        api: list[str] = [],  # noqa: B006  # as in ccxt
        method: str = "GET",
        params: dict[str, Any] = {},  # noqa: B006  # as in ccxt
    ) -> Any:
        """Sign with our tokens. With a key of the older kind ccxt would not even try."""
        if api[1] != "private":
            return super().sign(path, api, method, params)
        query = self.omit(params, self.extract_params(path))
        url = f"{self.urls['api']['rest']}/{'api/v3' if api[0] == 'v3' else 'v2'}/{self.implode_params(path, params)}"
        headers = {"Authorization": f"Bearer {self._token(method, url)}", "Content-Type": "application/json"}
        if method == "GET":
            whole = f"{url}?{self.urlencode_with_array_repeat(query)}" if query else url
            return {"url": whole, "method": method, "body": None, "headers": headers}
        return {"url": url, "method": method, "body": self.json(query) if query else None, "headers": headers}

    def _token(self, method: str, url: str) -> str:
        if not self.apiKey:
            raise ccxt.AuthenticationError("no API key: this client may only send public requests")
        if self.signing_key is None:
            try:
                # The key is not read when the client is made: most followers' clients never send a request.
                self.signing_key = read_private_key(self.secret)
            except MalformedKey as error:
                raise ccxt.AuthenticationError(str(error)) from None
        now = int(self.clock.time())
        expires_at = token_expires_at.get()
        # A scheme other than https stays in the claim, as ccxt does it: servers that work with ccxt expect it.
        uri = f"{method} {url.removeprefix('https://')}"
        return bearer_token(self.signing_key, self.apiKey, uri, now, expires_at or now + LIFE_SECONDS)

    def handle_errors(
        self,
        code: int,
        reason: str,
        _url: str,
        _method: str,
        headers: dict[str, str],
        body: str,
        response: Any,
        request_headers: dict[str, str] | None = None,
        *_request: Any,
    ) -> None:
        """Raise for every reply except a 2xx JSON object without an error."""
        if code in (418, 429):
            raise BackOff(f"HTTP {code} {self._shown(body)}", _seconds_to_wait(headers))
        if code // 100 == SERVER_ERROR:
            # This also holds for JSON with a code: the order may have been accepted before the trouble.
            raise ccxt.ExchangeNotAvailable(f"HTTP {code} {self._shown(body)}")
        if code == UNAUTHORIZED:
            self._raise_for_token(headers, body, response, request_headers or {})
        if isinstance(response, dict):
            self._raise_for_content(code, response)
        if code // 100 != SUCCESS:
            # A redirect or a proxy's page: neither shows whether the order was accepted.
            raise ccxt.ExchangeNotAvailable(f"HTTP {code} {shortened(str(reason))}")
        if not isinstance(response, dict):
            raise ccxt.BadResponse("the reply is not a JSON object")

    def _raise_for_token(
        self, headers: dict[str, str], body: str, response: Any, request_headers: dict[str, str]
    ) -> None:
        """Raise the error that the times point to.

        Coinbase reports a wrong key, a wrong clock and a token that arrived too late in the same words.
        """
        if not isinstance(response, dict) and body.strip() and "unauthorized" not in body.lower():
            return  # not Coinbase's own words: a proxy's page
        good = lifetime(request_headers.get("Authorization", ""))
        if good is not None:
            not_before, expires_at = good
            now, theirs = time(), _server_time(headers)
            # The claims are times of Coinbase's clock as it was known then. How long the request took is known exactly.
            if now - (request_sent_at.get() or now) + 1 >= expires_at - not_before:
                raise DeadlineElapsed(f"the token expired on its way: {self._shown(body)}")
            is_off = theirs is not None and not not_before - 1 <= theirs < expires_at
            if theirs is not None and is_off and abs(theirs - now) < MOST_SECONDS_OFF:
                raise ccxt.InvalidNonce(f"the clocks differ by {theirs - now:.0f} s: {self._shown(body)}")
        if "timestamp expired" in body:
            raise ccxt.InvalidNonce(self._shown(body))
        raise ccxt.AuthenticationError(self._shown(body) or "unauthorized")

    def _raise_for_content(self, code: int, response: dict[str, Any]) -> None:
        reaction: Reaction | None = None
        if response.get("success") is False or response.get("error_response"):
            reaction = reaction_to_failure(response)
        else:
            errors = response.get("errors")
            first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
            text = response.get("error") or first.get("id") or (response.get("code") if code // 100 != SUCCESS else "")
            if text or errors:
                reaction = reaction_to_error(code, str(text))
        if reaction is None:
            return
        placed = response.get("success_response")
        if response.get("order_id") or (isinstance(placed, dict) and placed.get("order_id")):
            # The reply has an order id, so an order may exist.
            reaction = Reaction.LOOK_UP
        raise error_for(reaction, self._shown(self.json(response)), RATE_LIMIT_SECONDS)

    def _shown(self, text: str) -> str:
        """The text, shortened, with asterisks for secrets. They are replaced first: a cut could leave half a token."""
        text = text[:_MOST_TEXT]
        token = (self.last_request_headers or {}).get("Authorization", "").removeprefix("Bearer ")
        secret_text = self.secret or ""
        key_lines = [line for line in secret_text.replace("\\n", "\n").split("\n") if "-----" not in line]
        for secret in (token, secret_text, *key_lines, self.apiKey):
            if secret:
                text = text.replace(secret, "***")
        return shortened(text)


def _server_time(headers: dict[str, str]) -> float | None:
    """The server's own time of its answer, in whole seconds since 1970; None when the reply has no such header."""
    text = next((value for name, value in headers.items() if name.lower() == "date"), "")
    return header_time(text)


def _seconds_to_wait(headers: dict[str, str]) -> float:
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return min(max(float(value), 1.0), LONGEST_WAIT_SECONDS) if value.isdecimal() else RATE_LIMIT_SECONDS
