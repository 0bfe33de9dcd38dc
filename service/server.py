"""Runs the app under uvicorn: one socket, one process, and an end that loses no request."""

import asyncio
import contextlib
import errno
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from service.api.call import Service
from service.app import create_app
from service.auth import require_keys
from service.connection import Connection, ConnectionLimits
from service.lifecycle import Lifecycle
from service.loading import check_repositories
from service.models.artifact import Manifest
from service.models.registry import Registry
from service.settings import Settings, SettingsError

BACKLOG: Final = 2048
OTHER_FILES: Final = 64  # models, logs, and what the libraries open


class AddressError(Exception):
    """The address cannot be listened on; the text is one line for a person."""


def bind(host: str, port: int) -> socket.socket:
    """Opens the listening socket.

    Raises:
        AddressError: the port is in use, or the address is not one of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise AddressError(_explain(error, host, port)) from None
    listener.setblocking(False)
    return listener


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use; stop the program that has it, or choose another "
            "with --port"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this process has; choose one from 1024 up"
    return f"cannot listen on {host} port {port}: {error.strerror}; choose an address with --host"


def url_of(listener: socket.socket) -> str:
    """The address that a person can open."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Uvicorn's server with a drain before it stops listening.

    SIGTERM: not ready at once, `drain_s` later no new requests, accepted ones finish within
    `grace_s`. Ctrl-C skips the wait; a second one skips the rest.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        settings = service.settings
        limits = ConnectionLimits(
            head_timeout_s=settings.head_timeout_s,
            send_timeout_s=settings.send_timeout_s,
            max_connections=_affordable(settings.max_connections),
            on_refused=service.metrics.reject,
        )
        protocol: Any = partial(Connection, limits=limits)  # uvicorn does no more than call it
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=protocol,
                ws="none",
                lifespan="on",
                interface="asgi3",  # or uvicorn guesses from how the application is written
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=settings.grace_s,
            )
        )
        self._drain_s = settings.drain_s
        self._lifecycle = service.lifecycle

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals on the loop; uvicorn would end the process by the signal itself."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        yield

    def _terminate(self) -> None:
        if not self._lifecycle.draining:
            self._lifecycle.draining = True
            asyncio.get_running_loop().call_later(self._drain_s, self.stop)

    def _interrupt(self) -> None:
        self.force_exit = self.should_exit
        self._lifecycle.draining = True
        self.stop()

    def stop(self) -> None:
        """Stops listening; accepted requests finish."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes in who has connected already and stops listening in the same breath.

        A listener that closes resets whom it did not accept, and uvicorn's closes some turns of
        the loop after it stopped to accept.
        """
        listeners = sockets or []
        waiting = [connection for listener in listeners for connection in _accept_all(listener)]
        for server in self.servers:
            server.close()
        for listener in listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RD)
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def _accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """Every connection that is complete and waits."""
    with contextlib.suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            yield connection


def _affordable(max_connections: int) -> int:
    """So many connections as this process may open files, of which it asks for enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(min(max_connections, allowed - OTHER_FILES), 1)


def run(settings: Settings, say: Callable[[str], None]) -> None:
    """Serves until a signal comes; says where and what to try once the models are ready.

    Raises:
        AddressError: the address cannot be listened on.
        SettingsError: other machines reach the address, and no API keys were set.
        ServiceError: the models cannot be loaded.
    """
    listener = bind(settings.host, settings.port)
    try:
        require_keys(settings, listener.getsockname()[0])
    except SettingsError:
        listener.close()
        raise
    app = create_app(settings, verified=check_repositories(settings))
    service: Service = app.state.service
    server = Server(app, service)

    async def serve() -> None:
        welcome = partial(_welcome, service.registry, url_of(listener), say)
        watcher = asyncio.create_task(_watch(server, service.lifecycle, welcome))
        try:
            await server.serve(sockets=[listener])
        finally:
            watcher.cancel()

    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(serve())
    if service.lifecycle.failure is not None:
        raise service.lifecycle.failure


def _welcome(registry: Registry, url: str, say: Callable[[str], None]) -> None:
    model = registry.get()
    n_relevant = len(model.space.relevant_dims)
    row = ",".join("0" * n_relevant)
    plan = model.engine.plan
    say(
        f"rfvae {version('rfvae')} serves `{model.name}` version {model.version} ({n_relevant} "
        f"relevant of {model.space.latent_dim} dimensions) on {model.engine.providers[0]} "
        f"with {plan.lanes} lanes of {plan.threads} threads\n"
        f"Address  {url}   routes {url}/docs   stop with Ctrl-C\n"
        f"Try\n{_examples(url, model.manifest, row)}"
    )


def _examples(url: str, manifest: Manifest, latents: str) -> str:
    """Three commands, one a line, that work with this model."""
    send = "-H 'Content-Type: application/json' -d"
    decode = f"  curl -s {url}/decode {send} '{{\"latents\": [[{latents}]]}}'"
    if manifest.vector is not None:
        means = ",".join(f"{offset:.6g}" for offset in manifest.vector.offset)
        return (
            f"{decode}\n"
            f"  curl -s {url}/encode {send} '{{\"rows\": [[{means}]]}}'\n"
            f"  curl -s {url}/traverse {send} '{{\"rows\": [[{means}]]}}'"
        )
    return (
        f"{decode} -o shape.png\n"
        f"  curl -s {url}/encode -H 'Content-Type: image/png' --data-binary @shape.png\n"
        f"  curl -s {url}/traverse -H 'Content-Type: image/png' --data-binary @shape.png "
        "-o traversal.png"
    )


async def _watch(server: Server, lifecycle: Lifecycle, announce: Callable[[], None]) -> None:
    if await lifecycle.settled() is None:
        announce()
    else:
        server.stop()
