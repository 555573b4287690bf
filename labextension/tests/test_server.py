"""The server part in a real Jupyter server, in front of a dashboard made of tornado: who may pass, and what."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import tornado.httpserver
import tornado.netutil
import tornado.web
import tornado.websocket
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from nuna_labextension.handlers import configuration

TOKEN = "server-token"
CLUSTER_TOKEN = "c1u5ter"
LIMIT = 30


class Answer(tornado.web.RequestHandler):
    def get(self, path):
        if self.request.headers.get("Authorization") != f"Bearer {CLUSTER_TOKEN}":
            raise tornado.web.HTTPError(401)
        self.set_header("Content-Security-Policy", "frame-ancestors 'self'")
        self.set_header("Set-Cookie", "leak=1")
        self.finish(json.dumps({"path": path, "query": self.request.query, "cookie": self.request.headers.get("Cookie")}))


class Stream(tornado.websocket.WebSocketHandler):
    def prepare(self):
        if self.request.headers.get("Authorization") != f"Bearer {CLUSTER_TOKEN}":
            raise tornado.web.HTTPError(401)

    def on_message(self, message):
        if message == "end":
            self.close(1008, "as asked")
        else:
            self.write_message(b"\x01" + message.encode(), binary=True)


@pytest.fixture
async def dashboard():
    server = tornado.httpserver.HTTPServer(tornado.web.Application([("/ws", Stream), ("/(.*)", Answer)]))
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    server.stop()
    await server.close_all_connections()


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    """Address of a Jupyter server with the extension from this source tree, and the folder of cluster files."""
    folder = tmp_path_factory.mktemp("jupyter")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config"
    config.mkdir()
    (config / "jupyter_server_config.json").write_text(
        json.dumps(
            {
                "ServerApp": {
                    "ip": "127.0.0.1",
                    "port": port,
                    "port_retries": 0,
                    "open_browser": False,
                    "allow_root": True,
                    "root_dir": str(folder),
                    "base_url": "/user/a/",
                    "jpserver_extensions": {"nuna_labextension": True},
                },
                "IdentityProvider": {"token": TOKEN},
            }
        )
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "NUNA"))}
    environment |= {
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "NUNA_STATE_DIR": str(folder / "state"),
    }
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "jupyter_server"], env=environment, stderr=out, stdout=out)
    url = f"http://127.0.0.1:{port}/user/a/"
    try:
        deadline = time.monotonic() + LIMIT * 2
        while True:
            try:
                urllib.request.urlopen(f"{url}api", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield url, folder / "state", log
    finally:
        process.terminate()
        process.wait(LIMIT)


@pytest.fixture
def cluster(jupyter, dashboard):
    """One cluster file that leads to `dashboard`."""
    folder = jupyter[1] / "clusters"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    path = folder / "local-1.json"
    content = {"name": "local-1", "dashboard": dashboard, "token": CLUSTER_TOKEN, "pid": os.getpid()}
    path.write_text(json.dumps(content | {"started": "2026-11-21T03:00:00Z", "origin": "k"}))
    path.chmod(0o600)
    yield path
    path.unlink(missing_ok=True)


async def get(jupyter, path, token=TOKEN, method="GET", **headers):
    if token:
        headers["Authorization"] = f"token {token}"
    body = b"{}" if method in ("POST", "PUT") else None
    request = HTTPRequest(
        jupyter[0] + path, method=method, headers=headers, body=body, follow_redirects=False, request_timeout=LIMIT
    )
    return await AsyncHTTPClient().fetch(request, raise_error=False)


async def test_the_users_clusters_are_listed_without_their_tokens(jupyter, cluster):
    response = await get(jupyter, "nuna/api/clusters")
    assert json.loads(response.body) == [
        {"name": "local-1", "started": "2026-11-21T03:00:00Z", "origin": "k", "url": "/user/a/nuna/clusters/local-1/"}
    ]
    config = json.loads((await get(jupyter, "nuna/api/config")).body)
    assert config == {"mode": "server"}


async def test_a_question_is_forwarded_with_the_token_and_nothing_else(jupyter, cluster):
    response = await get(jupyter, "nuna/clusters/local-1/api/tasks?lane=1", Cookie="secret=1")
    assert json.loads(response.body) == {"path": "api/tasks", "query": "lane=1", "cookie": None}
    assert response.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
    assert "leak=1" not in response.headers.get_list("Set-Cookie")
    page = await get(jupyter, "nuna/clusters/local-1/?x=1")
    assert json.loads(page.body) == {"path": "", "query": "", "cookie": None}


async def test_strangers_are_refused_everywhere(jupyter, cluster):
    for path in ["api/config", "api/clusters", "clusters/local-1/", "clusters/local-1/api/cluster"]:
        response = await get(jupyter, f"nuna/{path}", token=None)
        assert response.code in (302, 403), path
        assert (await get(jupyter, f"nuna/{path}", token="wrong")).code in (302, 403), path
    with pytest.raises(HTTPClientError) as refused:
        await connect(jupyter, token="wrong")
    assert refused.value.code == 403


async def test_only_what_a_view_needs_is_forwarded(jupyter, cluster):
    for path in ["api/identity?nonce=00", "../../etc/passwd", "api/clusters/x", "other"]:
        assert (await get(jupyter, f"nuna/clusters/local-1/{path}")).code in (403, 404), path
    for method in ["POST", "PUT", "DELETE"]:
        assert (await get(jupyter, "nuna/clusters/local-1/api/cluster", method=method)).code in (403, 405), method
    for name in ["other", "..%2Flocal-1", "http:%2F%2Fevil.example"]:
        assert (await get(jupyter, f"nuna/clusters/{name}/api/cluster")).code == 404, name


async def test_a_dashboard_that_is_gone_is_said_to_be(jupyter, cluster):
    content = json.loads(cluster.read_text())
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        content["dashboard"] = f"http://127.0.0.1:{closed.getsockname()[1]}"
        cluster.write_text(json.dumps(content))
        response = await get(jupyter, "nuna/clusters/local-1/api/cluster")
        assert response.code == 502
        stream = await connect(jupyter)
        assert await read(stream) is None
        assert stream.close_code == 1013 and "does not answer" in stream.close_reason


async def connect(jupyter, token=TOKEN, **headers):
    url = jupyter[0].replace("http://", "ws://") + "nuna/clusters/local-1/ws"
    request = HTTPRequest(url, headers={"Authorization": f"token {token}", **headers}, connect_timeout=LIMIT)
    return await tornado.websocket.websocket_connect(request)


async def read(stream):
    return await asyncio.wait_for(stream.read_message(), LIMIT)


async def test_the_stream_passes_both_ways_and_ends_as_it_ended(jupyter, cluster):
    stream = await connect(jupyter)
    await stream.write_message('{"subscribe": []}')
    assert await read(stream) == b'\x01{"subscribe": []}'
    await stream.write_message("end")
    assert await read(stream) is None
    assert (stream.close_code, stream.close_reason) == (1008, "as asked")


async def test_long_or_binary_requests_end_the_stream(jupyter, cluster):
    for message, binary in [("x" * 5000, False), (b"\0", True)]:
        stream = await connect(jupyter)
        await stream.write_message(message, binary=binary)
        assert await read(stream) is None
        assert stream.close_code == 1008


async def test_a_page_of_another_site_gets_nothing_from_a_signed_in_browser(jupyter, cluster):
    # What a browser has after signing in: cookies, and no token of its own.
    host = jupyter[0].split("/")[2]
    page = await get(jupyter, f"tree?token={TOKEN}", token=None)
    cookies = "; ".join(line.split(";")[0] for line in page.headers.get_list("Set-Cookie"))
    assert "username-" in cookies
    own = await get(jupyter, "nuna/clusters/local-1/api/cluster", token=None, Cookie=cookies, Origin=f"http://{host}")
    assert own.code == 200
    for path in ["nuna/clusters/local-1/api/cluster", "nuna/api/clusters"]:
        response = await get(jupyter, path, token=None, Cookie=cookies, Origin="http://evil.example")
        assert response.code in (403, 404), path
    url = jupyter[0].replace("http://", "ws://") + "nuna/clusters/local-1/ws"
    for origin, allowed in [(f"http://{host}", True), ("http://evil.example", False)]:
        request = HTTPRequest(url, headers={"Cookie": cookies, "Origin": origin})
        if allowed:
            (await tornado.websocket.websocket_connect(request)).close()
        else:
            with pytest.raises(HTTPClientError) as refused:
                await tornado.websocket.websocket_connect(request)
            assert refused.value.code == 403


async def test_no_token_reaches_the_log(jupyter, cluster):
    await get(jupyter, "nuna/clusters/local-1/api/cluster")
    assert CLUSTER_TOKEN not in jupyter[2].read_text()


def test_behind_a_hub_the_way_is_the_services_path():
    assert configuration({}) == {"mode": "server"}
    assert configuration({"NUNA_WALLTIME_END": "1795364415"}) == {"mode": "server", "walltime_end": 1795364415}
    for odd in ("", "soon", "-1", "1e9", "9" * 30, "١٢"):
        assert configuration({"NUNA_WALLTIME_END": odd}) == {"mode": "server"}
    env = {"NUNA_SERVICE_URL": "http://hub.local:8000/jupyter/services/nuna", "JUPYTERHUB_USER": "ada"}
    assert configuration({**env, "NUNA_WALLTIME_END": "7"})["walltime_end"] == 7
    assert configuration(env) == {"mode": "hub", "service": "/jupyter/services/nuna/", "user": "ada"}
    assert configuration({"NUNA_SERVICE_URL": "http://127.0.0.1:9"})["service"] == "/services/nuna/"
