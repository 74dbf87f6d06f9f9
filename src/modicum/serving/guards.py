"""What stands before the application: who may ask, how often, how much at once and how large."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modicum.serving.keys import Keys
from modicum.serving.messages import Problem

OPEN = ("/healthz", "/readyz", "/page/")
"""Paths that need no key: what tells whether the server lives, and the page that asks for a key."""

CALLERS = 10_000
"""Callers whose rate is remembered at most; the one that has been silent longest is forgotten."""


class KeyGuard:
    """Lets through who bears a key, and names them as ``scope["caller"]``.

    Args:
        app: what stands behind.
        keys: of which one is to be in the header, as ``Authorization: Bearer KEY``; None: the
            caller is known by its address alone.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None) -> None:
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            address = (scope.get("client") or ("",))[0]
            caller = address if self.keys is None else self.keys.holder(_key(scope))
            if caller is None and not (scope["path"] == "/" or scope["path"].startswith(OPEN)):
                headers = {"www-authenticate": "Bearer"}
                await _refuse(401, "a key is needed: Authorization: Bearer KEY", headers)(
                    scope, receive, send
                )
                return
            scope["caller"] = caller or address
        await self.app(scope, receive, send)


class RateLimit:
    """Refuses a caller who asks more often than a rate; a second's worth may come at once.

    Args:
        app: what stands behind.
        rate: requests a second of each caller.
    """

    def __init__(self, app: ASGIApp, rate: float) -> None:
        self.app, self.rate = app, rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (wait_s := self._wait(scope["caller"])) > 0:
            headers = {"retry-after": str(int(wait_s) + 1)}
            text = f"more than {self.rate:g} requests a second; ask more slowly"
            await _refuse(429, text, headers)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _wait(self, caller: str) -> float:
        """Take one request from what a caller has left; return how long to wait if there is none."""
        now, most = time.monotonic(), max(self.rate, 1.0)
        left, then = self._left.pop(caller, (most, now))
        left = min(most, left + (now - then) * self.rate)
        allowed = left >= 1
        self._left[caller] = (left - allowed, now)
        if len(self._left) > CALLERS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self.rate


class Crowd:
    """Refuses requests beyond those that may be under way at once.

    Args:
        app: what stands behind.
        most: requests under way at most.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._under_way >= self.most and not scope["path"].startswith(OPEN):
            text = "too many requests are under way; ask again later"
            await _refuse(503, text, {"retry-after": "1"})(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._under_way -= 1


class BodyLimit:
    """Refuses bodies above a size, whatever their header says of it, and those that come slowly.

    Args:
        app: what stands behind; it gets each body whole.
        largest: bytes of a body at most.
        patience_s: seconds that a body may take to come.
    """

    def __init__(self, app: ASGIApp, largest: int, patience_s: float) -> None:
        self.app, self.largest, self.patience_s = app, largest, patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, more, fits = bytearray(), True, _announced(scope) <= self.largest
        try:
            async with asyncio.timeout(self.patience_s):
                while more and fits:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    fits = len(body) <= self.largest
        except TimeoutError:
            text = f"the body took more than {self.patience_s:g} s to come; send it faster"
            await _refuse(408, text, {"connection": "close"})(scope, receive, send)
            return
        if not fits:
            text = f"the body has more than {self.largest:,} bytes; send less"
            await _refuse(413, text, {"connection": "close"})(scope, receive, send)
            return
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replayed() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, replayed, send)


def _key(scope: Scope) -> str:
    scheme, _, key = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
    return key.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def _announced(scope: Scope) -> int:
    """Return the length of the body that its header claims, 0 where it claims none."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _refuse(code: int, text: str, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(Problem(error=text).model_dump(), code, headers)
