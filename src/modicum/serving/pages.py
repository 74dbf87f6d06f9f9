"""The page: static files, and what it reads beside the messages that everyone can send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import Response
from pydantic import BaseModel, StringConstraints

from modicum.serving.messages import LONGEST_ID
from modicum.serving.runs import RunAudit, RunComparison, RunList, RunReport, Runs

FOLDER = Path(__file__).parent / "page"

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Nothing from elsewhere, nothing inline, no text that becomes markup, in nobody's frame."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID)]

Found = TypeVar("Found")


class About(BaseModel):
    """What the page may ask of this server."""

    recommends: bool
    runs: bool


def add_page(app: FastAPI, *, runs: Path | None = None) -> None:
    """Serve the page at ``/`` of an application, and the runs below a folder beside it.

    Args:
        app: the application; what its key guard lets pass without a key is ``/`` and ``/page/``,
            which hold no data.
        runs: folder whose folders are runs; None: the page shows none.
    """
    app.include_router(_files(app, with_runs=runs is not None))
    if runs is not None:
        app.include_router(_reports(Runs(runs)))


def _files(app: FastAPI, *, with_runs: bool) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in KINDS}

    def sent(name: str) -> Response:
        return Response(files[name], media_type=KINDS[Path(name).suffix], headers=HEADERS)

    @router.get("/")
    async def page() -> Response:
        return sent("index.html")

    @router.get("/page/about.json")
    async def about() -> About:
        paths = {getattr(route, "path", "") for route in app.routes}
        return About(
            recommends="/recommend" in paths,
            runs=with_runs,
        )

    @router.get("/page/{name}")
    async def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "the page has no such file")
        return sent(name)

    return router


def _reports(runs: Runs) -> APIRouter:
    router = APIRouter(tags=["runs"], responses={404: {"description": "no such run"}})

    @router.get("/runs")
    def listed() -> RunList:
        return runs.list()

    @router.get("/runs/{name}")
    def report(name: Name) -> RunReport:
        return _there(runs.report(name), f"no run {name!r} is listed")

    @router.get("/runs/{name}/audit")
    def audit(name: Name) -> RunAudit:
        return _there(runs.audit(name), f"no audit of a run {name!r} is kept")

    @router.get("/comparison")
    def comparison(a: Name, b: Name) -> RunComparison:
        return _there(runs.compare(a, b), f"{a!r} and {b!r} are not both listed")

    return router


def _there(found: Found | None, otherwise: str) -> Found:
    if found is None:
        raise HTTPException(404, otherwise)
    return found
