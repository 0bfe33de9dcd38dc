"""Serves until a signal comes, in one process or in several behind one address."""

import asyncio
import socket
from collections.abc import Callable

from service.api.call import Service
from service.app import create_app
from service.auth import require_keys
from service.lifecycle import Lifecycle
from service.listening import bind, url_of
from service.loading import check_repositories
from service.memory import keep_few_arenas
from service.models.repository import Verified
from service.processes.leader import serve_in_processes
from service.processes.plan import plan_processes
from service.server import Server
from service.settings import Settings, SettingsError
from service.welcome import welcome


def run(settings: Settings, say: Callable[[str], None]) -> None:
    """Serves until a signal comes; says where and what to try once the models are ready.

    Raises:
        AddressError: the address cannot be listened on.
        SettingsError: other machines reach the address, and no API keys were set.
        ServiceError: the models cannot be loaded, or one of several processes died.
    """
    keep_few_arenas()
    listener = bind(settings.host, settings.port)
    try:
        require_keys(settings, listener.getsockname()[0])
    except SettingsError:
        listener.close()
        raise
    verified = check_repositories(settings)
    processes = plan_processes(settings)
    if processes == 1:
        _run_alone(settings, listener, verified, say)
    else:
        serve_in_processes(settings, listener, verified, say, processes=processes)


def _run_alone(
    settings: Settings, listener: socket.socket, verified: Verified, say: Callable[[str], None]
) -> None:
    app = create_app(settings, verified=verified)
    service: Service = app.state.service
    server = Server(app, service)

    async def serve() -> None:
        def announce() -> None:
            say(welcome(service.registry, url_of(listener)))

        watcher = asyncio.create_task(_watch(server, service.lifecycle, announce))
        try:
            await server.serve(sockets=[listener])
        finally:
            watcher.cancel()

    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(serve())
    if service.lifecycle.failure is not None:
        raise service.lifecycle.failure


async def _watch(server: Server, lifecycle: Lifecycle, announce: Callable[[], None]) -> None:
    if await lifecycle.settled() is None:
        announce()
    else:
        server.stop()
