"""Counts the requests that are not answered yet: a gauge for operators, a fact for draining."""

from starlette.types import ASGIApp, Receive, Scope, Send


class InFlight:
    """The outermost layer: everything inside it is counted until its answer is out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self.count += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.count -= 1
