"""`nuna-spawner` as its clients see it, without PBS or a directory: users and servers are plain objects.

Speaks the service's API on a real unix socket through aiohttp, an HTTP implementation that is not the client's own.
A server's story is told by the test (`server.say(...)`), or by `UserServers`, which starts real user servers.
"""

import asyncio
import itertools
import json
from dataclasses import dataclass, field

from aiohttp import web

FORM = """
<fieldset><legend>Profile</legend>
<label><input type="radio" name="profile" value="small" checked> Small</label>
<label><input type="radio" name="profile" value="ocean"> Ocean</label>
</fieldset>"""


@dataclass
class FakeServer:
    id: str
    request: dict
    event: dict = field(default_factory=lambda: event("queued", 10, "Waiting in the queue."))
    exit: int | None = None
    said: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, state: str, progress: int, message: str, **more) -> None:
        self.event = event(state, progress, message, **more)
        self.said.set()
        self.said = asyncio.Event()

    @property
    def state(self) -> str:
        return self.event["state"]


def event(state, progress, message, address=None, failed=False, detail=None):
    told = {"state": state, "progress": progress, "message": message, "address": address, "failed": failed}
    return told if detail is None else {**told, "detail": detail}


class FakeService:
    """One service. Counts what it was asked in `asked`; `refuse[(method, path)]` replaces answers, oldest first."""

    def __init__(self, socket_path: str):
        self.socket_path = socket_path
        self.users = {"alice": ("wonder", ["ocean", "users"], False), "carol": ("marvel", ["hub-admins"], True)}
        self.servers: dict[str, FakeServer] = {}
        self.asked: list[str] = []
        #: What the hub said of each form: fields that were sent, options that were chosen last.
        self.forms: list[tuple[dict | None, dict]] = []
        self.addresses: list[str | None] = []
        self.refuse: dict[tuple[str, str], list[tuple[int, str, str]]] = {}
        self.created = asyncio.Event()
        self.hold_create: asyncio.Event | None = None
        self.hold_sign_in: asyncio.Event | None = None
        self.hold_delete: asyncio.Event | None = None
        self.user_servers = None
        self.batch: dict | None = None
        self.streams_open = 0
        self._ids = (f"{number:032x}" for number in itertools.count(0xABC))
        self._runner = None
        self.node_port = 0

    async def open(self) -> None:
        app = web.Application(middlewares=[self._middleware])
        app.add_routes(
            [
                web.get("/health", self._health),
                web.post("/auth", self._auth),
                web.get("/users/{name}/standing", self._standing),
                web.post("/form", self._form),
                web.post("/options", self._options),
                web.post("/servers", self._create),
                web.get("/servers/{id}", self._server),
                web.get("/servers/{id}/events", self._events),
                web.delete("/servers/{id}", self._delete),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, self.socket_path).start()

    async def open_to_nodes(self) -> None:
        """The service's other listener: the hub waits for it, nodes and browsers would use it."""
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.node_port = self._runner.addresses[-1][1]

    async def close(self) -> None:
        await self._runner.cleanup()

    @property
    def server(self) -> FakeServer:
        """The one server there is."""
        (only,) = self.servers.values()
        return only

    @web.middleware
    async def _middleware(self, request, handler):
        kind = request.path.split("/")[1]
        self.asked.append(f"{request.method} {request.path}")
        planned = self.refuse.get((request.method, kind))
        if planned:
            return refusal(*planned.pop(0))
        return await handler(request)

    async def _health(self, _request):
        return web.json_response({"status": "serving", "batch": self.batch})

    async def _auth(self, request):
        body = await request.json()
        if self.hold_sign_in:
            await self.hold_sign_in.wait()
        self.addresses.append(body.get("address"))
        known = self.users.get(body["username"])
        if known is None or known[0] != body["password"]:
            return refusal(401, "wrong_password", "The user name or the password is wrong.")
        return web.json_response({"name": body["username"], "groups": known[1], "admin": known[2]})

    async def _standing(self, request):
        name = request.match_info["name"]
        if name not in self.users:
            return refusal(403, "no_such_user", "The user directory has no such user any more.")
        _, groups, admin = self.users[name]
        return web.json_response({"name": name, "groups": groups, "admin": admin})

    async def _form(self, request):
        body = await request.json()
        if body["user"] not in self.users:
            return refusal(403, "no_profile", f"No profile is open to {body['user']}.")
        self.forms.append((body["form"], body["last"]))
        return web.Response(text=FORM, content_type="text/html")

    async def _options(self, request):
        body = await request.json()
        (profile,) = body["form"].get("profile", ["small"])
        if profile == "ocean" and "ocean" not in self.users[body["user"]][1]:
            return refusal(403, "not_in_group", "The profile Ocean is for members of the group ocean.")
        if profile not in ("small", "ocean"):
            return refusal(400, "bad_option", f"There is no profile {profile}.")
        return web.json_response({"profile": profile, "form": body["form"]})

    async def _create(self, request):
        body = await request.json()
        for server in self.servers.values():
            same = (server.request["user"], server.request["server_name"]) == (body["user"], body["server_name"])
            if same and server.state != "gone":
                return refusal(409, "already_running", "This server runs already.", id=server.id)
        server = FakeServer(next(self._ids), body)
        self.servers[server.id] = server
        self.created.set()
        if self.hold_create:
            await self.hold_create.wait()
        if self.user_servers:
            self.user_servers.start(server)
        return web.json_response({"id": server.id, "wait_seconds_max": 120}, status=202)

    async def _server(self, request):
        server = self.servers.get(request.match_info["id"])
        if server is None:
            return refusal(404, "no_such_server", "There is no such server.")
        return web.json_response(
            {
                "id": server.id,
                "state": server.state,
                "job": "1.fake",
                "address": server.event["address"],
                "exit": server.exit,
                "message": server.event["message"],
                "poll": {"gone": "gone", "unknown": "unknown"}.get(server.state, "alive"),
            }
        )

    async def _events(self, request):
        server = self.servers.get(request.match_info["id"])
        if server is None:
            return refusal(404, "no_such_server", "There is no such server.")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        self.streams_open += 1
        try:
            while True:
                said = server.said
                await response.write(json.dumps(server.event).encode() + b"\n")
                if server.state in ("running", "gone"):
                    return response
                try:
                    await asyncio.wait_for(said.wait(), 0.1)
                except TimeoutError:
                    pass
        except ConnectionResetError:
            return response
        finally:
            self.streams_open -= 1

    async def _delete(self, request):
        server = self.servers.get(request.match_info["id"])
        if self.hold_delete:
            await self.hold_delete.wait()
        if server is not None and server.state != "gone":
            if self.user_servers:
                await self.user_servers.stop(server)
            server.exit = 271
            server.say("gone", 100, "The job was deleted.")
        return web.Response(status=204)


def refusal(status, code, message, **more):
    error = {"code": code, "message": message, "request": "7f3a"}
    return web.json_response({"error": error, **more}, status=status)
