"""`NunaProxy` against a proxy's REST API that goes away, forgets its routes and comes back."""

import asyncio
import logging
from types import SimpleNamespace

import processes
import pytest
from aiohttp import web

from nuna_hub import NunaProxy


class FakeProxy:
    """The routes' API as far as the hub uses it."""

    def __init__(self):
        (self.port,) = processes.free_ports(1)
        self.routes: dict[str, dict] = {}
        self._runner = None

    async def open(self) -> None:
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/routes{path:.*}", self._get),
                web.post("/api/routes{path:.*}", self._post),
                web.delete("/api/routes{path:.*}", self._delete),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def close(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _get(self, request):
        path = request.match_info["path"]
        if path in ("", "/"):
            return web.json_response(self.routes)
        return web.json_response(self.routes[path]) if path in self.routes else web.Response(status=404)

    async def _post(self, request):
        self.routes[request.match_info["path"]] = await request.json()
        return web.Response(status=201)

    async def _delete(self, request):
        found = self.routes.pop(request.match_info["path"], None)
        return web.Response(status=204 if found else 404)


@pytest.fixture
async def fake():
    fake = FakeProxy()
    yield fake
    await fake.close()


@pytest.fixture
async def proxy(fake):
    hub = SimpleNamespace(routespec="/", host="http://127.0.0.1:8081", url="http://127.0.0.1:8081/hub/")
    app = SimpleNamespace(hub=hub, log=logging.getLogger("test"), subdomain_host="", internal_ssl=False)
    proxy = NunaProxy(
        app=app,
        hub=hub,
        log=app.log,
        public_url="http://127.0.0.1:8000",
        api_url=f"http://127.0.0.1:{fake.port}",
        auth_token="secret",
        should_start=False,
        watch_interval=0.2,
        delete_patience=0.5,
    )
    yield proxy
    if proxy._watch is not None:
        proxy._watch.cancel()


def service():
    server = SimpleNamespace(host="http://127.0.0.1:8092")
    return SimpleNamespace(name="nuna", server=server, proxy_spec="/services/nuna/")


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_route_waits_for_a_proxy_that_is_away(fake, proxy):
    adding = asyncio.create_task(proxy.add_route("/user/alice/", "http://10.0.0.7:4000", {"user": "alice"}))
    await asyncio.sleep(0.5)
    assert not adding.done()
    await fake.open()
    await asyncio.wait_for(adding, 60)
    assert fake.routes["/user/alice"]["target"] == "http://10.0.0.7:4000"


async def test_patience_has_an_end(fake, proxy, monkeypatch):
    monkeypatch.setattr("nuna_hub.proxy.ATTEMPT_SECONDS", 0.2)
    proxy.patience = 0.5
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(proxy.add_route("/user/alice/", "http://10.0.0.7:4000", {}), 20)


async def test_a_restarted_proxy_gets_its_routes_back(fake, proxy):
    await fake.open()
    await proxy.check_routes({}, {"nuna": service()})
    assert set(fake.routes) == {"/", "/services/nuna"}
    fake.routes.clear()
    await until(lambda: set(fake.routes) == {"/", "/services/nuna"})


async def test_a_server_ends_without_a_proxy_and_its_route_goes_later(fake, proxy):
    await fake.open()
    await proxy.check_routes({}, {"nuna": service()})
    await proxy.add_route("/user/alice/", "http://10.0.0.7:4000", {"user": "alice", "server_name": ""})
    await fake.close()
    await asyncio.wait_for(proxy.delete_route("/user/alice/"), 5)
    assert "/user/alice" in fake.routes
    await fake.open()
    await until(lambda: "/user/alice" not in fake.routes)
