"""One start of one user server: asked for, then followed until it runs.

Owns what must not be lost between two awaits: a job that exists while its id is still on the way. Leaves traits,
state, pages, and the decision to stop to `spawner`: a cancelled start may be a user who gave up, and JupyterHub then
calls `stop`; or a hub that is being restarted, and then the job keeps its place in the queue.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from .refusal import Refusal
from .service_client import ServiceClient, ServiceError
from .status import Status

#: Events kept for a progress bar that is opened late.
EVENTS_KEPT = 100
CREATE_TRIES = 4
#: While the service is restarted, paused or cut off; no job ends by that.
SILENT = "The spawner service does not answer at the moment. Nothing is lost: the start goes on once it does."
RETRY_SECONDS_MAX = 5.0
#: A page that waits for a submission has something new to say this often.
WAIT_SECONDS = 4.0
#: On top of the service's own limit: it has to notice and to report that its limit is over.
FOLLOW_GRACE_SECONDS = 60.0


class Attempt:
    """Drives one start. `start()` once; `progress()` from any number of readers; `give_up()` before a stop."""

    def __init__(self, client: ServiceClient, log, submit_seconds: float, stop_seconds: float):
        self._client = client
        self._log = log
        self._submit_seconds = submit_seconds
        self._stop_seconds = stop_seconds
        self._creation: asyncio.Task[dict] | None = None
        self._given_up = False
        self._events: deque[dict] = deque(maxlen=EVENTS_KEPT)
        self._told = 0
        self._changed = asyncio.Event()
        self._over = False
        self.status: Status | None = None

    @property
    def is_submitting(self) -> bool:
        """Whether a job may exist whose id is still on its way."""
        return self._creation is not None and not self._creation.done()

    @property
    def is_followed(self) -> bool:
        return not self._over

    async def start(self, request: dict, keep: Callable[[str], None]) -> tuple[str, int]:
        """Returns host and port. `keep` gets the id as soon as it is known, also after a cancellation."""
        # A task of its own: cancelling `start` must not cut off a submission.
        self._creation = asyncio.create_task(self._create(request, keep))
        try:
            while not (await asyncio.wait([self._creation], timeout=WAIT_SECONDS))[0]:
                self._tell({"progress": 0, "message": await self._what_is_waited_for()})
            created = self._creation.result()
            limit = float(created.get("wait_seconds_max") or 0) + FOLLOW_GRACE_SECONDS
            return await self.follow(created["id"], limit)
        except ServiceError as error:
            raise Refusal.from_service(error) from error
        finally:
            self._over = True
            self._wake()

    async def follow(self, server_id: str, limit_seconds: float) -> tuple[str, int]:
        """Waits until the server runs; also used for one that was starting when the hub was restarted."""
        try:
            async with asyncio.timeout(limit_seconds):
                return await self._follow(server_id)
        except TimeoutError as error:
            message = (
                f"The spawner service let {limit_seconds:g} s pass without saying whether the server runs. "
                "Try again, and tell the administrators if it happens again."
            )
            raise Refusal("start_silent", message, 504) from error

    async def give_up(self) -> None:
        """Waits until a submission under way has its id, or has failed."""
        self._given_up = True
        if self.is_submitting:
            await asyncio.wait([self._creation])

    async def progress(self) -> AsyncIterator[dict]:
        """What was and will be said about this start, until it is over."""
        read = 0
        while True:
            changed = self._changed
            skipped = self._told - len(self._events)
            for event in list(self._events)[max(0, read - skipped) :]:
                yield event
            read = max(read, skipped + len(self._events))
            if self._over and read >= self._told:
                return
            if read >= self._told:
                await changed.wait()

    async def _create(self, request: dict, keep: Callable[[str], None]) -> dict:
        """Submits the job. A server of the same name that still runs is not the one the hub wants: it has
        another token. JupyterHub starts nothing it believes to run, so that one is a leftover and goes first."""
        pause = 0.5
        for tries_left in reversed(range(CREATE_TRIES)):
            try:
                created = await self._client.create(request, self._submit_seconds)
                if not isinstance(created.get("id"), str) or not created["id"]:
                    raise ServiceError("service_broken", "The spawner service started a server without an id.")
                keep(created["id"])
                return created
            except ServiceError as error:
                if not tries_left or self._given_up:
                    raise
                leftover = _leftover(error)
                if leftover:
                    self._log.warning("Removing server %s, left over from before", leftover)
                    await remove(self._client, leftover, self._stop_seconds, self._log)
                elif error.code in ("service_unreachable", "service_broken", "ending"):
                    # Nothing was sent, or the service was restarted under the request: if it had submitted by
                    # then, the next try is told so and removes the leftover.
                    self._log.warning("Asking again for a server: %s", error)
                    await asyncio.sleep(pause)
                    pause *= 2
                else:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _what_is_waited_for(self) -> str:
        try:
            batch = (await self._client.health()).get("batch")
        except ServiceError:
            return SILENT
        batch = batch if isinstance(batch, dict) else {}
        system, words = str(batch.get("system") or "PBS"), str(batch.get("words") or "")
        if batch.get("answers") is False and words:
            return f"The job is being submitted; {system} does not answer at the moment ({words})."
        return f"The job is being submitted; {system} does not answer yet."

    async def _follow(self, server_id: str) -> tuple[str, int]:
        pause = 0.2
        while True:
            try:
                async with aclosing(self._client.events(server_id)) as events:
                    async for event in events:
                        pause = 0.2
                        self._tell(event)
                        if event.get("failed") or event.get("state") == "gone":
                            message = event.get("message") or "The server ended before it was ready."
                            raise Refusal("start_failed", str(message), 500, detail=str(event.get("detail") or ""))
                        if event.get("state") == "running":
                            return _address(event)
            except ServiceError as error:
                if not error.is_transient:
                    raise
                self._log.warning("Following server %s again: %s", server_id, error)
                self._tell({"progress": self._events[-1]["progress"] if self._events else 0, "message": SILENT})
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_SECONDS_MAX)

    def _tell(self, event: dict) -> None:
        self.status = Status(event)
        shown = {"progress": self.status.progress, "message": str(event.get("message") or "")}
        if event.get("requested_at"):
            # For the page; JupyterHub passes on what it does not know.
            shown["nuna"] = self.status.told
        # The service repeats itself to keep the connection alive; a page needs each sentence once.
        if not self._events or self._events[-1] != shown:
            self._events.append(shown)
            self._told += 1
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def remove(client: ServiceClient, server_id: str, limit_seconds: float, log) -> None:
    """Ends a server, asking again while it is still stopping or the service is being restarted."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_seconds
    pause = 0.2
    while True:
        left = max(1.0, deadline - loop.time())
        try:
            return await client.delete(server_id, left)
        except ServiceError as error:
            again = error.is_transient or error.code == "still_stopping"
            if not again or loop.time() + pause >= deadline:
                raise
            log.warning("Asking again to stop server %s: %s", server_id, error)
        await asyncio.sleep(pause)
        pause = min(pause * 2, RETRY_SECONDS_MAX)


def _leftover(error: ServiceError) -> str | None:
    if error.code != "already_running":
        return None
    body = error.answer.get("error")
    found = error.answer.get("id") or (body.get("id") if isinstance(body, dict) else None)
    return found if isinstance(found, str) and found else None


def _address(event: dict) -> tuple[str, int]:
    try:
        host, port = str(event["address"]["host"]), int(event["address"]["port"])
    except (TypeError, KeyError, ValueError):
        host, port = "", 0
    if not host or not 0 < port < 65536:
        # Asking again would get the same answer.
        raise Refusal("no_address", "The spawner service says that the server runs, but not where.", 502)
    return host, port
