"""JupyterHub's own class for configurable-http-proxy, as it is, with `nuna-proxy` under that command."""

import asyncio
import os
import signal
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from aiohttp import ClientResponseError, ClientSession, web
from jupyterhub.objects import Hub
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.utils import url_escape_path
from processes import free_ports, program
from yarl import URL

ODD_NAMES = ["zoe", "50fia", "秀樹", "~TestJH", "has@", "with space", "a%2Fb"]


@pytest.fixture
async def target():
    """A server that says what it was asked."""
    runner = web.AppRunner(application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def application():
    async def answer(request):
        return web.json_response({"path": request.raw_path, "host": request.headers["Host"]})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    return app


def configured(folder, hub_url, **settings):
    """The class with as much of a hub around it as it asks for."""
    port, api_port = free_ports(2)
    hub = Hub.from_url(hub_url + "/hub/")
    hub.routespec = "/"
    app = SimpleNamespace(hub=hub, subdomain_host="", internal_ssl=False, users={}, _service_map={})
    settings = {
        "auth_token": "secret",
        "public_url": f"http://127.0.0.1:{port}/",
        "api_url": f"http://127.0.0.1:{api_port}",
        "command": [str(program("nuna-proxy"))],
        "pid_file": str(folder / "proxy.pid"),
        "log_level": "INFO",
        **settings,
    }
    proxy = ConfigurableHTTPProxy(app=app, hub=hub, **settings)
    app.subdomain_host = "http://hub.test" if proxy.host_routing else ""
    return proxy


@pytest.fixture
async def new_proxy(folder, target):
    started = []

    async def make(**settings):
        proxy = configured(folder, target, **settings)
        started.append(proxy)
        await proxy.start()
        return proxy

    yield make
    for proxy in started:
        proxy.stop()
        proxy.proxy_process.wait(20)


async def get(proxy, path, **more):
    async with ClientSession() as session:
        # As given: nothing is encoded a second time.
        url = URL(proxy.public_url.rstrip("/") + path, encoded=True)
        async with session.get(url, **more) as answer:
            return answer.status, await answer.text()


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_a_route_under_any_name_leads_there_until_it_is_deleted(new_proxy, target, name):
    proxy = await new_proxy()
    routespec = f"/user/{url_escape_path(name)}/"
    await proxy.add_route(routespec, target, {"user": name, "server_name": ""})
    routes = await proxy.get_all_routes()
    found = {spec: route for spec, route in routes.items() if route["data"].get("user") == name}
    assert len(found) == 1, routes
    assert next(iter(found.values()))["target"] == target
    if name != "a%2Fb":  # which the class itself reads back as another path
        assert routespec in found
    status, text = await get(proxy, f"{routespec}lab?x=%20")
    assert (status, f"{routespec}lab?x=%20" in text) == (200, True), text
    await proxy.delete_route(routespec)
    # Once more is only warned about.
    await proxy.delete_route(routespec)
    assert await proxy.get_all_routes() == {}
    assert (await get(proxy, routespec))[0] == 404


async def test_the_hub_s_route_is_mended_and_strangers_routes_go(new_proxy, target):
    proxy = await new_proxy()
    await proxy.add_route("/", "http://127.0.0.1:1", {"hub": True})
    await proxy.add_route("/user/gone/", target, {"user": "gone", "server_name": ""})
    await proxy.check_routes({}, {})
    routes = await proxy.get_all_routes()
    assert list(routes) == ["/"] and routes["/"]["target"] == target
    assert (await get(proxy, "/hub/x"))[0] == 200
    # Of others, which the hub does not know, it says nothing and lets them be.
    await proxy.api_request("/other", method="POST", body={"target": target})
    await proxy.check_routes({}, {})
    assert (await get(proxy, "/other/x"))[0] == 200


async def test_a_proxy_that_died_is_started_again_with_its_routes(new_proxy, target):
    proxy = await new_proxy()
    await proxy.restore_routes()
    first = proxy.proxy_process
    first.send_signal(signal.SIGKILL)
    first.wait(20)
    await proxy.check_running()
    assert proxy.proxy_process.pid != first.pid
    assert list(await proxy.get_all_routes()) == ["/"]
    assert (await get(proxy, "/x"))[0] == 200


async def test_a_proxy_started_elsewhere_is_used_with_its_token_only(new_proxy, folder, target):
    running = await new_proxy()
    same = configured(folder, target, should_start=False, api_url=running.api_url)
    await same.add_route("/user/a/", target, {"user": "a"})
    assert "/user/a/" in await running.get_all_routes()
    stranger = configured(folder, target, should_start=False, api_url=running.api_url, auth_token="guess")
    for attempt in (stranger.get_all_routes(), stranger.add_route("/user/b/", target, {})):
        with pytest.raises(ClientResponseError) as refused:
            await attempt
        assert refused.value.status == 403
    assert list(await running.get_all_routes()) == ["/user/a/"]


async def test_hosts_are_routed_apart(new_proxy, target):
    proxy = await new_proxy(host_routing=True)
    await proxy.add_route("alice.hub.test/user/alice/", target, {"user": "alice"})
    assert list(await proxy.get_all_routes()) == ["alice.hub.test/user/alice/"]
    status, text = await get(proxy, "/user/alice/x", headers={"Host": "alice.hub.test:8000"})
    assert status == 200 and "alice.hub.test:8000" in text
    assert (await get(proxy, "/user/alice/x", headers={"Host": "bob.hub.test"}))[0] == 404


async def test_errors_show_the_hub_s_page_under_their_code(new_proxy):
    proxy = await new_proxy()
    status, text = await get(proxy, "/nowhere?token=x")
    assert status == 404
    assert "/hub/error/404?url=%2Fnowhere%3Ftoken%3Dx" in text, text


async def test_unix_sockets_serve_public_and_api(folder, new_proxy, target):
    public, api = folder / "public.sock", folder / "api.sock"
    proxy = await new_proxy(
        public_url=f"http+unix://{quote(str(public), safe='')}",
        api_url=f"http+unix://{quote(str(api), safe='')}",
    )
    await proxy.add_route("/user/a/", target, {"user": "a"})
    assert "/user/a/" in await proxy.get_all_routes()
    reader, writer = await asyncio.open_unix_connection(str(public))
    writer.write(b"GET /user/a/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    # The umask is the hub's, and nobody else gets in.
    assert os.stat(api).st_mode & 0o007 == 0
