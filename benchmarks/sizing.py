"""Rows a second that one core serves over HTTP: the server's processor time, not the clock's.

Starts `rfvae-serve serve` with the bundled models, sends each kind of request from several clients
to one of them, and divides the rows by the processor time that the server used. So neighbors on the
machine, and the clients themselves, count for little. Prints the machine, a table, then one line of
JSON.

Command: .venv/bin/python benchmarks/sizing.py
"""

import argparse
import http.client
import json
import statistics
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from served import as_npy, as_png, machine, processor_s, resident_bytes, serve

CLIENTS = 8
MANY = 64


@dataclass(frozen=True)
class Kind:
    """One kind of request, and how many rows it has."""

    name: str
    path: str
    media_type: str
    body: bytes
    rows: int


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    with serve() as (pid, port):
        figures = {
            kind.name: measure(kind, pid, port, rows=arguments.rows, rounds=arguments.rounds)
            for kind in kinds(arguments.model, latent_dim_of(arguments.model, port))
        }
        resident_mib = resident_bytes(pid) / 2**20
    print(f"`{arguments.model}` on {machine()}; {resident_mib:.0f} MiB resident in the end\n")
    print(f"{'request':24} {'rows/s a core':>13} {'CPU ms/row':>11}")
    for name, milliseconds in figures.items():
        print(f"{name:24} {1e3 / milliseconds:13.0f} {milliseconds:11.3f}")
    print()
    rates = {name: round(1e3 / value) for name, value in figures.items()}
    print(json.dumps({**rates, "resident_mib": round(resident_mib)}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="oval-dsprites", help="of 64x64 gray images")
    parser.add_argument("--rows", type=int, default=2048, help="rows a round")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def latent_dim_of(model: str, port: int) -> int:
    """Of the version that answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/models/{model}") as answer:
        found = json.load(answer)
    latent_dim: int = found["manifests"][str(found["default_version"])]["latent_dim"]
    return latent_dim


def kinds(model: str, latent_dim: int) -> list[Kind]:
    """An oval, alone as PNG and many times in one array; latents to decode."""
    encode, factors, decode = (f"/{name}?model={model}" for name in ("encode", "factors", "decode"))
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]  # (64, 64) each
    image = np.uint8(255 * ((rows / 0.3) ** 2 + (columns / 0.5) ** 2 < 1))
    png = as_png(image)
    array = as_npy(np.stack([image] * MANY))
    latents = as_npy(np.zeros((MANY, latent_dim), np.float32))
    return [
        Kind("encode, one PNG", encode, "image/png", png, 1),
        Kind("factors, one PNG", factors, "image/png", png, 1),
        Kind(f"encode, npy of {MANY}", encode, "application/x-npy", array, MANY),
        Kind(f"decode, npy of {MANY}", decode, "application/x-npy", latents, MANY),
    ]


def measure(kind: Kind, pid: int, port: int, *, rows: int, rounds: int) -> float:
    """Milliseconds of processor time a row, the median of the rounds; the first is warm-up."""
    requests = max(1, rows // kind.rows // CLIENTS)
    taken = []
    for _ in range(rounds + 1):
        before = processor_s(pid)
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda _: send(kind, port, requests), range(CLIENTS)))
        taken.append((processor_s(pid) - before) * 1e3 / (requests * CLIENTS * kind.rows))
    return statistics.median(taken[1:])


def send(kind: Kind, port: int, requests: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": kind.media_type, "Accept": "*/*"}
    if kind.rows > 1:
        headers["Accept"] = "application/x-npy"
    for _ in range(requests):
        connection.request("POST", kind.path, kind.body, headers)
        with connection.getresponse() as answer:
            answer.read()
            assert answer.status == 200, answer.status
    connection.close()


if __name__ == "__main__":
    main()
