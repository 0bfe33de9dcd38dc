"""What further models cost in memory."""

import subprocess
import sys

import pytest

from service.settings import BUNDLED
from tests.service.process import environment

MOST_MIB = 6  # a session more: weights of 1 MiB and its graph; with memory of its own 12 or more
N_SESSIONS = 8
OPEN_AND_RUN = """
import sys
from pathlib import Path
import numpy as np
from service.runtime.sessions import open_session

images = np.zeros((32, 1, 64, 64), np.uint8)
kept = []
for _ in range(int(sys.argv[2])):
    session = open_session(Path(sys.argv[1]))
    session.run(None, {"image": images})
    kept.append(session)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(pages * 4096 / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_further_sessions_run_in_the_memory_of_the_first() -> None:
    graph = BUNDLED / "oval-dsprites/1/encoder.onnx"
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_RUN, str(graph), str(N_SESSIONS)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    resident_mib = [float(line) for line in done.stdout.split()]

    assert (resident_mib[-1] - resident_mib[0]) / (N_SESSIONS - 1) < MOST_MIB
