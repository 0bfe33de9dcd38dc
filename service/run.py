"""Serves until a signal comes, in one process or in several behind one address."""

from collections.abc import Callable

from service.auth import require_keys
from service.loading import check_repositories
from service.memory import keep_few_arenas
from service.processes.leader import serve_in_processes
from service.processes.plan import plan_processes
from service.settings import Settings, SettingsError
from service.transport.listening import bind


def run(settings: Settings, say: Callable[[str], None]) -> None:
    """Serves until a signal comes; says where and what to try once the models are ready.

    Raises:
        AddressError: the address cannot be listened on.
        SettingsError: other machines reach the address, and no API keys were set.
        ServiceError: the models cannot be loaded, or one of several processes died or hangs.
    """
    keep_few_arenas()
    listener = bind(settings.host, settings.port)
    try:
        require_keys(settings, listener.getsockname()[0])
    except SettingsError:
        listener.close()
        raise
    verified = check_repositories(settings)
    serve_in_processes(settings, listener, verified, say, processes=plan_processes(settings))
