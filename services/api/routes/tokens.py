"""Shows and revokes tokens. `nija tokens add` makes them: a secret in an answer would be stored with the answer."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Response

from services.api.auth import Admin
from services.api.once import OnceOnly
from services.api.paging import ListPage
from services.api.problems import PROBLEMS, problems
from services.api.system import System
from shared.actions.tokens import revoke_token
from shared.queries.tokens import TokenRecord, read_tokens

router = APIRouter(prefix="/api/tokens", tags=["tokens"])


@router.get("", responses=PROBLEMS, operation_id="tokens")
def tokens(system: System, _: Admin, revoked: bool = False) -> ListPage[TokenRecord]:
    """List the tokens in use, or also the revoked ones. There is one page only."""
    return ListPage(items=read_tokens(system.connections, revoked=revoked), next=None)


@router.post(
    "/{token_id}/revoke",
    response_model=TokenRecord,
    responses={**PROBLEMS, **problems(404, 409)},
    operation_id="revoke_token",
)
async def revoke(
    system: System,
    principal: Admin,
    once: OnceOnly,
    token_id: Annotated[str, Path(pattern=r"^[0-9a-f]{12}$", examples=["0a1b2c3d4e5f"])],
) -> Response:
    """Let a token open nothing from the next request on."""

    async def carry_out() -> TokenRecord:
        return await run_sync(lambda: revoke_token(system.actions, token_id, actor=principal.actor))

    return await once.run(principal, carry_out)
