"""What a stock JupyterHub with many people asks of the service, counted: a bounded number of questions for each start,
and one for each server and poll interval after that."""

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import processes
import pytest
import requests
from aiohttp import web
from fake_service import FakeService
from hub import EMBEDDED_CONFIG, Browser, Hub
from processes import until

PEOPLE = 50
#: At the same time.
HANDS = 8
POLL_SECONDS = 2
WATCHED_SECONDS = 20
CONFIG = f"load_subconfig({str(EMBEDDED_CONFIG)!r})\nc.NunaSpawner.poll_interval = {POLL_SECONDS}\n"


class OneForAll:
    """A web server that is everybody's user server: the hub wants nothing but an answer."""

    def __init__(self):
        self.port = 0
        self._runner = None

    async def open(self):
        async def answer(request):
            return web.Response(text="here")

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def close(self):
        await self._runner.cleanup()

    def start(self, server):
        server.say("running", 100, "The user server is ready.", address={"host": "127.0.0.1", "port": self.port})

    async def stop(self, server):
        pass


@pytest.fixture
def fake(folder):
    fake, loop = FakeService(str(folder / "spawner.sock")), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    fake.users = {f"u{number:03}": ("secret", ["users"], False) for number in range(PEOPLE)}
    fake.user_servers = OneForAll()
    run(fake.user_servers.open())
    run(fake.open())
    run(fake.open_to_nodes())
    yield fake
    run(fake.close())
    run(fake.user_servers.close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    processes.assert_nothing_lives(folder)


@pytest.fixture
def hub(folder, fake):
    (hub_port,) = processes.free_ports(1)
    hub = Hub(folder, fake.socket_path, fake.node_port, "a" * 64, hub_port)
    (folder / "jupyterhub_config.py").write_text(CONFIG)
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()
        print(hub.log()[-20000:])


def kinds(asked) -> Counter:
    """Questions without the names and ids in them."""

    def kind(question):
        method, path = question.split(" ")
        parts = path.split("/")
        return " ".join([method, parts[1], *parts[3:]])

    return Counter(map(kind, asked))


def test_many_people_cost_the_service_few_questions(hub, fake):
    def begin(name):
        browser = Browser(hub)
        assert "/hub/spawn" in browser.sign_in(name, "secret").url
        assert browser.spawn(name, profile="small").status_code == 200
        browser.wait_ready(name)
        return browser

    begun = time.monotonic()
    with ThreadPoolExecutor(HANDS) as hands:
        browsers = dict(zip(fake.users, hands.map(begin, fake.users), strict=True))
    took = time.monotonic() - begun
    starts = kinds(fake.asked)
    fake.asked.clear()
    begun, slowest = time.monotonic(), 0.0
    while time.monotonic() - begun < WATCHED_SECONDS:
        asked = time.monotonic()
        assert requests.get(f"{hub.url}/hub/health", timeout=30).status_code == 200
        slowest = max(slowest, time.monotonic() - asked)
        time.sleep(0.2)
    watched = time.monotonic() - begun
    while_they_run = kinds(fake.asked)
    fake.asked.clear()
    with ThreadPoolExecutor(HANDS) as hands:
        list(hands.map(lambda name: browsers[name].api("DELETE", f"/users/{name}/server"), fake.users))
    until(lambda: all(server.state == "gone" for server in list(fake.servers.values())), "the end of all servers")
    stops = kinds(fake.asked)
    print(f"{PEOPLE} people, started in {took:.1f} s: {dict(starts)}")
    print(f"{watched:.1f} s with their servers: {dict(while_they_run)}; slowest /hub/health {slowest:.3f} s")
    print(f"stopped: {dict(stops)}")

    for once in ("POST auth", "POST options", "POST servers"):
        assert starts[once] == PEOPLE, once
    # Signing in shows the form, and so does the page that is sent.
    assert starts["GET form"] <= 3 * PEOPLE
    assert starts["GET users standing"] <= 4 * PEOPLE
    assert starts["GET servers events"] == PEOPLE
    # One more may begin or end within the time that is watched; nothing else is asked.
    polls = watched / POLL_SECONDS + 1
    assert 0 < while_they_run["GET servers"] <= PEOPLE * polls
    assert while_they_run.total() == while_they_run["GET servers"]
    assert PEOPLE <= stops["DELETE servers"] <= 2 * PEOPLE
