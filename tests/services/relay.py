"""A network path that the test owns: it passes bytes on, loses them, or is not there; and it keeps what went to the server."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Literal, Self

from tests.services import free_port


class Relay:
    """Listens on `host:port` and passes on to `127.0.0.1:target`."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = free_port()
        self.mode: Literal["pass", "silent"] = "pass"
        self.sent = b""
        """What clients sent, in all connections."""
        self.connections = 0
        self.target = target
        """The port that new connections are passed on to."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.down()

    async def up(self) -> None:
        """Be there (again), on the same port."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)

    async def down(self) -> None:
        """Be gone, with every connection."""
        if self._server is not None:
            self._server.close()
        for writer in [*self._writers]:
            writer.transport.abort()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        pipes = [writer]
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
            pipes.append(there_writer)
            self._writers |= {*pipes}
            await asyncio.gather(self._pass(reader, there_writer, is_client=True), self._pass(there_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for pipe in pipes:
                pipe.transport.abort()
                self._writers.discard(pipe)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_client: bool = False) -> None:
        while data := await reader.read(65536):
            if is_client:
                self.sent += data
            if self.mode == "pass":
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
