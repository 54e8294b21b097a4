"""Answers whether the API can work, without a token."""

from fastapi import APIRouter
from pydantic import BaseModel

from services.api.problems import AWAY, RequestRefused, problems
from services.api.system import System

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The API works."""

    status: str = "ok"


@router.get("/health", responses=problems(413, 503), operation_id="health")
async def health(system: System) -> Alive:
    """Whether the API answers questions. It needs no token, asks no server, and shows nothing else."""
    if system.database.obstacle:
        raise RequestRefused(AWAY, "PostgreSQL does not answer; the log of the API says more")
    return Alive()
