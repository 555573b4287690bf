"""Calls to `nuna-spawner`: typed requests, a deadline on each, and one kind of error.

Owns the paths and bodies of the service's API on its unix socket. Leaves JupyterHub's classes to `spawner` and
`authenticator`, and the bytes to `unix_http`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from urllib.parse import quote

from .unix_http import Exchange, ProtocolError

DEFAULT_SOCKET = "/run/nuna/spawner.sock"
#: The largest answer is the form; a large site's has some hundred profiles of a few kB.
ANSWER_MAX_BYTES = 8 * 1024 * 1024
EVENT_MAX_BYTES = 256 * 1024
#: The service writes an event at least every 6 s; two missed ones are silence.
EVENT_SILENCE_SECONDS = 15.0
#: An answer that takes longer is waited for only while the service says that it is well, within the same time.
PROBE_SECONDS = 5.0


class ServiceError(Exception):
    """The service refused, or could not be asked.

    `code` is the service's own stable code, or one of `service_unreachable` (nothing was sent),
    `service_timeout` and `service_broken` (something was). `message` is fit for a page. `status` is the HTTP
    status, 503 if there was no answer. `answer` is the refusal's JSON, for codes that carry more. `request` is what the
    service's log calls the request.
    """

    def __init__(self, code: str, message: str, status: int = 503, answer: dict | None = None, request: str = ""):
        super().__init__(code, message, status)
        self.code = code
        self.message = message
        self.status = status
        self.answer = answer or {}
        self.request = request

    def __str__(self) -> str:
        error = self.answer.get("error")
        request = (error.get("request") if isinstance(error, dict) else None) or self.request
        suffix = f", request {request}" if request else ""
        return f"{self.message} ({self.code}, {self.status}{suffix})"

    @property
    def may_have_acted(self) -> bool:
        """Whether the service may have done what it was asked, though no answer says so."""
        return self.code in ("service_timeout", "service_broken")

    @property
    def is_transient(self) -> bool:
        """Whether the same question may get an answer a little later, from a service that is being restarted."""
        return self.may_have_acted or self.code == "service_unreachable" or self.status in (502, 503)


class ServiceClient:
    """The service behind one socket. Holds no connection, so it survives the service's restarts."""

    def __init__(self, socket_path: str = DEFAULT_SOCKET, timeout_seconds: float = 10.0):
        self.socket_path = socket_path
        self.timeout_seconds = timeout_seconds

    async def sign_in(
        self, username: str, password: str, timeout_seconds: float, address: str | None = None
    ) -> dict:
        """`{"name", "groups", "admin"}`, or a `ServiceError` such as `wrong_password`. `address` is the browser's."""
        body = {"username": username, "password": password, "address": address}
        task = asyncio.ensure_future(self._json("POST", "/auth", body, timeout_seconds))
        try:
            while not (await asyncio.wait([task], timeout=PROBE_SECONDS))[0]:
                # A directory may take its time. A service that is silent itself will not answer this either.
                await self.health()
            return await task
        finally:
            task.cancel()

    async def health(self) -> dict:
        """`{"status", "batch": {"system", "answers", "words"}}`, at once or not at all."""
        return await self._json("GET", "/health", timeout=min(PROBE_SECONDS, self.timeout_seconds))

    async def standing(self, user: str) -> dict:
        """The same as the directory has it now, without a password; `no_such_user`, `account_locked` and
        `not_allowed` are its decisions, other errors say nothing about the user."""
        return await self._json("GET", f"/users/{quote(user, safe='')}/standing")

    async def form(self, user: str, sent: dict[str, list[str]] | None = None, last: dict | None = None) -> str:
        """HTML of the profiles `user` may choose from. It shows the fields of a form that was `sent` and refused, with
        what is wrong beside them; else the options that were chosen `last`."""
        _, body = await self._ask("POST", "/form", {"user": user, "form": sent, "last": last})
        return body.decode("utf-8", "replace")

    async def options(self, user: str, form: dict[str, list[str]]) -> dict:
        """What a sent form stands for, checked."""
        return await self._json("POST", "/options", {"user": user, "form": form})

    async def create(self, request: dict, timeout_seconds: float) -> dict:
        """Submits the job of a user server: `{"id", "wait_seconds_max"}`."""
        return await self._json("POST", "/servers", request, timeout_seconds)

    async def server(self, server_id: str) -> dict:
        """What the service knows of a user server."""
        return await self._json("GET", f"/servers/{quote(server_id, safe='')}")

    async def delete(self, server_id: str, timeout_seconds: float) -> None:
        """Ends a user server. Returns once its job is gone; one that is unknown is gone."""
        await self._ask("DELETE", f"/servers/{quote(server_id, safe='')}", None, timeout_seconds)

    async def events(self, server_id: str) -> AsyncIterator[dict]:
        """Events of a start, until the service ends the stream. Close it (`aclosing`) to hang up."""
        target = f"/servers/{quote(server_id, safe='')}/events"
        async with Exchange(self.socket_path, "GET", target) as exchange:
            head = await self._in_time(exchange, exchange.send(), self.timeout_seconds)
            if head.status >= 400:
                answer = await self._in_time(exchange, _whole(exchange), self.timeout_seconds)
                raise _refusal(head.status, answer, exchange.request_id)
            rest = b""
            async with aclosing(exchange.body()) as pieces:
                while (piece := await self._in_time(exchange, anext(pieces, None), EVENT_SILENCE_SECONDS)) is not None:
                    *lines, rest = (rest + piece).split(b"\n")
                    if len(rest) > EVENT_MAX_BYTES:
                        raise ServiceError("service_broken", "The spawner service sent an event without an end.")
                    for line in lines:
                        if line.strip():
                            yield _object(line)

    async def _json(self, method: str, target: str, body: dict | None = None, timeout: float | None = None) -> dict:
        _, answer = await self._ask(method, target, body, timeout)
        return _object(answer)

    async def _ask(
        self, method: str, target: str, body: dict | None = None, timeout: float | None = None
    ) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body).encode()
        async with Exchange(self.socket_path, method, target, data) as exchange:
            status, answer = await self._in_time(exchange, _send(exchange), timeout or self.timeout_seconds)
        if status >= 400:
            raise _refusal(status, answer, exchange.request_id)
        return status, answer

    async def _in_time(self, exchange: Exchange, waiting, seconds: float):
        """Awaits one step of an exchange; whatever can go wrong with it becomes a `ServiceError`.

        Messages name the socket, never the request: it may hold a password.
        """
        try:
            async with asyncio.timeout(seconds):
                return await waiting
        except TimeoutError as error:
            code = "service_timeout" if exchange.sent else "service_unreachable"
            message = f"The spawner service did not answer within {seconds:g} s. Try again in a minute."
            raise ServiceError(code, message, request=exchange.request_id) from error
        except (OSError, ProtocolError) as error:
            if exchange.sent:
                message = f"The spawner service broke off its answer: {error}."
                raise ServiceError("service_broken", message, request=exchange.request_id) from error
            message = (
                "The spawner service cannot be reached: try again in a minute, and tell the administrators if it "
                f"lasts ({self.socket_path}: {error.strerror or error})."
            )
            raise ServiceError("service_unreachable", message, request=exchange.request_id) from error


async def _send(exchange: Exchange) -> tuple[int, bytes]:
    head = await exchange.send()
    return head.status, await _whole(exchange)


async def _whole(exchange: Exchange) -> bytes:
    answer = bytearray()
    async for piece in exchange.body():
        answer += piece
        if len(answer) > ANSWER_MAX_BYTES:
            raise ProtocolError(f"the answer is larger than {ANSWER_MAX_BYTES} bytes")
    return bytes(answer)


def _object(data: bytes) -> dict:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ServiceError("service_broken", "The spawner service answered with something that is not JSON.") from error
    if not isinstance(value, dict):
        raise ServiceError("service_broken", "The spawner service answered with JSON that is not an object.")
    return value


def _refusal(status: int, data: bytes, request: str) -> ServiceError:
    try:
        answer = json.loads(data)
        error = answer["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, TypeError, KeyError):
        message = f"The spawner service refused with status {status} and without a reason."
        return ServiceError("no_reason", message, status, request=request)
    return ServiceError(code, message, status, answer, request)
