"""`python -m service.probe`: exit 0 when the service on this machine can answer, for HEALTHCHECK.

Imports next to nothing, as it runs every few seconds; needs no curl.
"""

import http.client
import os
import sys

TIMEOUT_S = 4.0
LOOPBACK = "127.0.0.1"
EVERY_ADDRESS = ("", "0.0.0.0", "::")


def obstacle(port: int, path: str = "/readyz", host: str = LOOPBACK) -> str | None:
    """Why the service on this port cannot answer; None when it can."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return None if answer.status == http.client.OK else answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer on port {port}: {error}"
    finally:
        connection.close()


def main() -> None:
    """Asks `/readyz` on RFVAE_PORT, 8000 unless it is set, where RFVAE_HOST listens."""
    host = os.environ.get("RFVAE_HOST", LOOPBACK)
    port = int(os.environ.get("RFVAE_PORT", "8000"))
    reason = obstacle(port, host=LOOPBACK if host in EVERY_ADDRESS else host)
    if reason is not None:
        sys.exit(reason)


if __name__ == "__main__":
    main()
