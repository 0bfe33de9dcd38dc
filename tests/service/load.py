"""Clients that ask a server as fast as it answers, until it takes no more connections."""

import asyncio
import gc
from collections import Counter


class Load:
    """What became of each request that was sent whole."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self.statuses: Counter[int] = Counter()
        self.lost: list[str] = []

    async def run(self, clients: int) -> None:
        """Returns when every client was refused a connection.

        Without the garbage collector, whose full run in a process of so many tests takes longer
        than a server that ends waits for the next request of an idle connection.
        """
        gc.disable()
        try:
            await asyncio.gather(*(self._ask_until_refused() for _ in range(clients)))
        finally:
            gc.enable()

    async def _ask_until_refused(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # before a request was sent
                continue
            try:
                await self._ask(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                self.lost.append(repr(error))
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Several requests over one connection, up to the server's last answer on it."""
        head = b""
        while b"connection: close" not in head:
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            self.statuses[int(head.split()[1])] += 1
