"""A real server process, for tests of signals, ports and the command line."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

# Whoever starts the tests in the background of a script has signals ignored; so would we.
_INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
)
END_S = 30


def command(before: str = "pass") -> list[str]:
    """What runs `rfvae-serve`, after these statements."""
    return [
        *(sys.executable, "-c"),
        f"{_INTERRUPTIBLE}; {before}; from service.cli import main; main()",
    ]


COMMAND = command()


class ServerProcess:
    """Started and ready; `url` is where it listens."""

    def __init__(
        self, process: "subprocess.Popen[str]", errors: IO[str], url: str, welcome: str
    ) -> None:
        self.process = process
        self._errors = errors
        self.url = url
        self.welcome = welcome

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Sends the signal; returns exit code and standard error."""
        self.process.send_signal(number)
        return self.wait()

    def errors_so_far(self) -> str:
        """Standard error up to now; the process goes on writing where it was."""
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode()

    def wait(self) -> tuple[int, str]:
        """Waits for the end; returns exit code and standard error."""
        self.process.communicate(timeout=END_S)
        return self.process.returncode, _text(self._errors)


@contextmanager
def serve(
    repository: Path, *options: str, before: str = "pass", **settings: str
) -> Iterator[ServerProcess]:
    """Runs `rfvae-serve serve` on a free port, after some statements, until the block ends."""
    with TemporaryFile("w+") as errors:  # a pipe that nobody reads would stop a server that logs
        process = subprocess.Popen(
            [*command(before), "serve", "--port", "0", "--models", str(repository), *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(**{"RFVAE_DRAIN_S": "0", **settings}),
        )
        try:
            yield ServerProcess(process, errors, *_welcome(process, errors))
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Runs `rfvae-serve` to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=END_S,
        env=environment(**settings),
        check=False,
    )


def last_words(process: "subprocess.Popen[str]") -> str:
    """What it still writes to standard error until it ends; killed if it does not."""
    try:
        return process.communicate(timeout=END_S)[1]
    finally:
        process.kill()


def environment(**settings: str) -> dict[str, str]:
    """This process's environment, without its settings of the service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RFVAE_")}
    return {**kept, **settings}


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _welcome(process: "subprocess.Popen[str]", errors: IO[str]) -> tuple[str, str]:
    """Reads the welcome up to its last line; it comes once the models are ready."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "/traverse" in line:
            text = "".join(lines)
            found = re.search(r"http://\S+:\d+", text)
            assert found is not None, text
            return found[0], text
    raise AssertionError(f"no welcome; standard error: {_text(errors)}")
