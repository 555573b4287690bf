"""JupyterHub as it comes from PyPI, with the demo's configuration, nuna-proxy, and a fake service behind the shims."""

import asyncio
import threading

import processes
import pytest
import requests
from fake_service import FakeService
from hub import Browser, Hub, text_of
from processes import until
from user_servers import UserServers


class ServiceThread:
    """The fake service on a loop of its own, since these tests block."""

    def __init__(self, folder):
        self.fake = FakeService(str(folder / "spawner.sock"))
        self.user_servers = UserServers(folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.run(self.fake.open())
        self.run(self.fake.open_to_nodes())

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def say(self, *words, **more):
        """The one server's next event."""

        async def speak():
            self.fake.server.say(*words, **more)

        self.run(speak())

    def close(self):
        self.run(self.user_servers.stop_all())
        self.run(self.fake.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def thread(folder):
    thread = ServiceThread(folder)
    yield thread
    thread.close()
    processes.assert_nothing_lives(folder)


@pytest.fixture
def hub(folder, thread):
    (hub_port,) = processes.free_ports(1)
    hub = Hub(folder, thread.fake.socket_path, thread.fake.node_port, "a" * 64, hub_port)
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()
        # Shown by pytest with a failure.
        for log in ("hub.log", "user-server.log"):
            if (folder / log).exists():
                print(f"--- {log}\n{(folder / log).read_text(errors='replace')}")


def signed_in(hub):
    browser = Browser(hub)
    page = browser.sign_in("alice", "wonder")
    assert "/hub/spawn" in page.url, text_of(page.text)
    return browser


def test_from_login_to_user_server_and_back(hub, thread):
    thread.fake.user_servers = thread.user_servers
    browser = signed_in(hub)
    assert 'value="ocean"' in browser.get("/hub/spawn").text
    pending = browser.spawn("alice", profile="small")
    assert "/spawn-pending/alice" in pending.url
    messages = [event["message"] for event in browser.progress("alice")]
    assert "The user server starts." in messages and messages[-1].startswith("Server ready at")
    browser.wait_ready("alice")
    lab = browser.get("/user/alice/lab")
    assert lab.status_code == 200 and "jupyter-config-data" in lab.text
    assert "/user/alice/" in lab.url
    token = thread.fake.server.request["environment"]["JUPYTERHUB_API_TOKEN"]
    assert token not in hub.log()
    # The dashboards' gateway asks the hub whose token this is, and the cookie by OAuth, without a question to alice.
    assert hub.whose(token) == "alice"
    assert hub.whose(hub.service_sign_in(browser)) == "alice"

    # The hub crashes and comes back: the server is where it was, and the user need not sign in again.
    hub.crash()
    hub.start()
    browser.wait_ready("alice")
    assert browser.get("/user/alice/lab").status_code == 200
    assert thread.fake.asked.count("POST /servers") == 1

    browser.stop("alice")
    assert thread.fake.server.state == "gone"
    assert "a" * 64 not in hub.log() and "wonder" not in hub.log()


def test_refusals_reach_the_pages_and_nothing_else_breaks(hub, thread):
    fake = thread.fake
    wrong = Browser(hub).sign_in("alice", "guess")
    assert wrong.status_code == 403 and "Invalid username or password" in wrong.text
    silent = "The directory does not answer <b>now</b>."
    fake.refuse["POST", "auth"] = [(503, "directory_unreachable", silent)]
    page = Browser(hub).sign_in("alice", "wonder")
    assert page.status_code == 503 and "The directory does not answer &lt;b&gt;now&lt;/b&gt;." in page.text
    assert "Invalid username or password" not in page.text

    browser = signed_in(hub)
    fake.users["alice"] = ("wonder", ["users"], False)
    page = browser.spawn("alice", profile="ocean")
    assert page.status_code == 403 and "for members of the group ocean" in text_of(page.text)

    words = "qsub: Job exceeds queue <script>alert(1)</script> 100 %s limits"
    fake.refuse["POST", "servers"] = [(422, "pbs_rejected", words)]
    page = browser.spawn("alice", profile="small")
    assert page.status_code == 422
    assert "qsub: Job exceeds queue &lt;script&gt;alert(1)&lt;/script&gt; 100 %s limits" in page.text
    assert words not in page.text

    # A start that fails after the page has gone on to the progress bar.
    browser.spawn("alice", profile="small")
    reason = "Job 12.pbs: jupyterhub-singleuser is not installed on node1."
    thread.say("gone", 100, reason, failed=True, detail="line 1\n<img src=x onerror=alert(1)>")
    until(lambda: browser.server("alice") is None, "the failed start to end", evidence=hub.log)
    page = browser.get("/hub/spawn-pending/alice")
    assert page.status_code == 500 and reason in text_of(page.text)
    assert "line 1\n&lt;img src=x onerror=alert(1)&gt;" in page.text and "<img src=x" not in page.text
    failed = browser.progress("alice")[-1]
    assert failed["failed"] and reason in failed["message"] and "<img" not in failed["html_message"]

    # Nobody waits any more: the job goes.
    fake.servers.clear()
    browser.spawn("alice", profile="small")
    until(lambda: fake.servers, "the job", evidence=hub.log)
    browser.stop("alice")
    assert fake.server.state == "gone"

    # A queued job survives a crash of the hub, and an orderly restart.
    fake.servers.clear()
    browser.spawn("alice", profile="small")
    for end_hub in (hub.crash, hub.stop):
        until(lambda: fake.servers and fake.streams_open, "the hub to wait for the job", evidence=hub.log)
        end_hub()
        until(lambda: not fake.streams_open, "the hub to hang up")
        hub.start()
    until(lambda: fake.streams_open, "the hub to wait for the job", evidence=hub.log)
    assert fake.server.state == "queued"
    thread.say("gone", 100, "The job was deleted.")
    browser.wait_stopped("alice")


def test_who_loses_access_loses_it_without_a_new_sign_in(hub, thread):
    """The demo's hub asks again before each start; here the age is short, so that each page asks."""
    fake = thread.fake
    alice, stranger = signed_in(hub), Browser(hub)
    # A forged address changes nothing about whose guess it is.
    stranger.get("/hub/login")
    stranger._session.headers.update({"X-Forwarded-For": "203.0.113.9", "X-Real-Ip": "203.0.113.9"})
    stranger.sign_in("alice", "guess")
    assert fake.addresses[-1] == "127.0.0.1"

    token = alice.api("POST", "/users/alice/tokens", json={"note": "script"}).json()["token"]
    assert hub.whose(token) == "alice"
    fake.users["alice"] = ("wonder", ["users", "ice"], False)
    until(lambda: alice.groups("alice") == ["ice", "users"], "the new group", evidence=hub.log)
    # Nobody knows, so nothing changes.
    fake.refuse["GET", "users"] = [(503, "directory_unreachable", "The directory does not answer.")] * 4
    assert "/hub/home" in alice.get("/hub/home").url

    del fake.users["alice"]
    fake.refuse.clear()
    until(lambda: "/hub/login" in alice.get("/hub/home").url, "the cookie to end", evidence=hub.log)
    with pytest.raises(requests.HTTPError):
        hub.whose(token)
    assert "POST /servers" not in fake.asked
