"""Nothing is reported to anyone, and no file is left for it."""

import subprocess
import sys
from pathlib import Path

from tests.service.process import environment

OPEN_A_SESSION = """
import sys
from pathlib import Path
from service.runtime.sessions import open_session
open_session(Path(sys.argv[1]), device="cpu", threads=1)
"""


def test_runtime_keeps_no_telemetry(repository: Path, tmp_path: Path) -> None:
    graph = repository / "tiny/1/encoder.onnx"
    variables = environment(HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    variables.pop("ORT_DISABLE_TELEMETRY", None)

    done = subprocess.run(
        [sys.executable, "-c", OPEN_A_SESSION, str(graph)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.rglob("*")) == []
