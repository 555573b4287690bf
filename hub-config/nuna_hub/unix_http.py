"""HTTP/1.1 over a unix socket: one request, one connection, an answer read whole or chunk by chunk.

Owns framing and its limits. Leaves deadlines, JSON and what an answer means to `service_client`.

Plain asyncio streams, and not tornado's client: a followed event stream has to end the moment its reader is
cancelled, and tornado's simple client keeps the connection (and one of its ten slots) until the peer closes it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

#: Longest line of a head, and of a chunk's length.
LINE_MAX_BYTES = 64 * 1024
HEADER_COUNT_MAX = 100
#: Most that is read at once.
PIECE_MAX_BYTES = 64 * 1024


class ProtocolError(Exception):
    """The peer did not answer in HTTP, or stopped in the middle."""


@dataclass
class Head:
    """Status line and headers of an answer; header names are lower case."""

    status: int
    headers: dict[str, str]


class Exchange:
    """One request and its answer. Use as an async context manager: leaving it closes the connection."""

    def __init__(self, socket_path: str, method: str, target: str, body: bytes | None = None):
        self._socket_path = socket_path
        self._method = method
        #: The service's log has it in every line about this request.
        self.request_id = secrets.token_hex(8)
        self._request = _request_bytes(method, target, body, self.request_id)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        #: Whether the peer may have seen the request.
        self.sent = False

    async def __aenter__(self) -> "Exchange":
        return self

    async def __aexit__(self, *_exception) -> None:
        if self._writer is not None:
            # Nothing is left to flush; waiting for the peer would only add a way to hang.
            self._writer.transport.abort()

    async def send(self) -> Head:
        """Connects, sends the request and reads the head of the answer."""
        self._reader, self._writer = await asyncio.open_unix_connection(self._socket_path, limit=LINE_MAX_BYTES)
        self.sent = True
        self._writer.write(self._request)
        await self._writer.drain()
        while True:
            head = await self._read_head()
            if head.status >= 200:
                self._head = head
                return head

    async def body(self) -> AsyncIterator[bytes]:
        """Pieces of the body, as they arrive. A body cut short is an error, never a short body."""
        headers, status = self._head.headers, self._head.status
        if self._method == "HEAD" or status in (204, 304):
            return
        try:
            if "chunked" in headers.get("transfer-encoding", "").lower():
                async for piece in self._chunks():
                    yield piece
            elif "content-length" in headers:
                async for piece in self._exactly(_count(headers["content-length"], 10)):
                    yield piece
            else:
                while piece := await self._reader.read(PIECE_MAX_BYTES):
                    yield piece
        except asyncio.IncompleteReadError as error:
            raise ProtocolError("the connection closed in the middle of the answer") from error

    async def _read_head(self) -> Head:
        first = (await self._line()).split(" ", 2)
        if len(first) < 2 or not first[0].startswith("HTTP/1.") or not first[1].isdigit():
            raise ProtocolError("the answer is not HTTP/1.1")
        headers: dict[str, str] = {}
        while line := await self._line():
            name, colon, value = line.partition(":")
            if not colon or len(headers) >= HEADER_COUNT_MAX:
                raise ProtocolError("the answer's headers are malformed")
            headers[name.strip().lower()] = value.strip()
        return Head(int(first[1]), headers)

    async def _line(self) -> str:
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            raise ProtocolError("the connection closed before the answer was complete") from error
        except asyncio.LimitOverrunError as error:
            raise ProtocolError(f"a line of the answer is longer than {LINE_MAX_BYTES} bytes") from error
        return line.decode("latin-1").rstrip("\r\n")

    async def _chunks(self) -> AsyncIterator[bytes]:
        while length := _count((await self._line()).partition(";")[0].strip(), 16):
            async for piece in self._exactly(length):
                yield piece
            if await self._line():
                raise ProtocolError("a chunk is longer than it said")
        while await self._line():
            pass

    async def _exactly(self, length: int) -> AsyncIterator[bytes]:
        while length > 0:
            piece = await self._reader.read(min(length, PIECE_MAX_BYTES))
            if not piece:
                raise asyncio.IncompleteReadError(b"", length)
            length -= len(piece)
            yield piece


def _count(text: str, base: int) -> int:
    # int() alone would also take "+5", " 5 " and "1_000".
    digits = "0123456789abcdef"[:base]
    if not text or len(text) > 15 or any(letter not in digits for letter in text.lower()):
        raise ProtocolError("the answer gives a length that is no number")
    return int(text, base)


def _request_bytes(method: str, target: str, body: bytes | None, request_id: str) -> bytes:
    if not target.isascii() or any(letter <= " " for letter in target):
        raise ValueError("a request target must be percent-encoded")
    # The host of a unix socket means nothing, but HTTP/1.1 requires one.
    head = f"{method} {target} HTTP/1.1\r\nHost: nuna-spawner\r\nConnection: close\r\nAccept: */*\r\n"
    head += f"X-Request-ID: {request_id}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode("ascii") + b"\r\n" + (body or b"")
