"""Puts the application together: routes, problems, the gate, and the OpenAPI document."""

import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI

from services.api import routes
from services.api.examples import ANSWERS
from services.api.gate import OPENAPI_PATH, Gate
from services.api.problems import MEDIA_TYPE, add_problem_handlers
from services.api.system import ApiSystem

_ERROR: Final = 400
_DESCRIPTION: Final = """
Questions and actions of nija. Every path below `/api/` but this document needs a token with a role:
read < operate < admin. Amounts are exact decimals as text,
and numbers in answers about capital. Times are UTC. Lists come in pages: `next` of a page is
`after` of the next one. Errors are problem documents (RFC 9457). docs/api.md has a walk-through.
"""


class Api(FastAPI):
    """The application, with an OpenAPI document that has two things which the framework cannot put into it."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document: with the media type of problems, and with examples in which a field may be null."""
        if self.openapi_schema is None:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    _complete(operation)
        return super().openapi()


def _complete(operation: dict[str, Any]) -> None:
    for code, response in operation["responses"].items():
        if int(code) >= _ERROR:
            [content] = response["content"].values()
            response["content"] = {MEDIA_TYPE: content}
    example = ANSWERS.get(operation["operationId"])
    if example is not None:
        operation["responses"]["200"]["content"]["application/json"]["example"] = example


def make_application(system: ApiSystem) -> Api:
    """The application of one system."""

    @asynccontextmanager
    async def until_the_end(_: FastAPI) -> AsyncIterator[None]:
        async with system.closing:
            yield

    app = Api(
        title="nija",
        version=version("nija"),
        description=_DESCRIPTION.strip(),
        openapi_url=OPENAPI_PATH,
        # These pages load their parts from other servers.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=until_the_end,
    )
    app.state.system = system
    add_problem_handlers(app)
    app.add_middleware(Gate)
    # Each module of the folder has a router, so a new one needs no line here.
    for module in sorted(each.name for each in pkgutil.iter_modules(routes.__path__)):
        app.include_router(import_module(f"{routes.__name__}.{module}").router)
    # Now and not during the first request, which checks its parameters by the document.
    app.openapi()
    return app
