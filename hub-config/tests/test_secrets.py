"""A whole run leaves no secret where others look, and a server that is started again has new ones."""

import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex

import processes
import pytest
import requests
from hub import HUB_CANARY, Browser, Hub
from processes import environment_of, until
from stack import Stack

#: What is written about a run in trouble, without what the libraries below write about each of their bytes.
LOG = "debug,ldap3=warn,hyper=info,tower=info"


class Overheard:
    """What launchers and service say to each other, between them: a node's network, which nobody else may tap."""

    def __init__(self, service_port: int):
        self.said: list[tuple[str, dict, dict]] = []
        overheard = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                url = f"http://127.0.0.1:{service_port}{self.path}"
                answer = requests.post(url, data=body, headers={"Content-Type": "application/json"}, timeout=60)
                overheard.said.append((self.path, json.loads(body), answer.json() if answer.content else {}))
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def exchange(self, job: str) -> tuple[str, str]:
        """One-time code and ticket of a job's launcher."""
        ((asked, answered),) = [
            (asked, answered)
            for path, asked, answered in self.said
            if path.endswith("/launch/exchange") and asked["job"] == job and "ticket" in answered
        ]
        return asked["code"], answered["ticket"]


class OverheardStack(Stack):
    def __init__(self, folder: Path):
        super().__init__(folder)
        self._environment["NUNA_LOG"] = LOG
        self.overheard = Overheard(self.service_port)

    def _new_hub(self) -> Hub:
        debug = "c.JupyterHub.log_level = 10\nc.ConfigurableHTTPProxy.log_level = 'debug'\n"
        return Hub(self.folder, str(self.socket), self.service_port, self.token, self.hub_port, debug)

    def _spawner_config(self, directory: str) -> str:
        own = f'url = "http://127.0.0.1:{self.service_port}/'
        config = super()._spawner_config(directory)
        assert own in config
        return config.replace(own, f'url = "http://127.0.0.1:{self.overheard.port}/')

    def stop(self) -> None:
        super().stop()
        self.overheard.close()


@pytest.fixture
def stack():
    # A unix socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="nuna-") as name:
        stack = OverheardStack(Path(name))
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
            processes.assert_nothing_lives(stack.folder)


def places(stack: Stack) -> dict[str, bytes]:
    """All that the run has left or shows, by where it is: what PBS tells everybody, command lines, and each file."""
    found = {
        "qstat": stack.command("qstat", "-x", "-f").stdout.encode() + json.dumps(stack.jobs()).encode(),
        "ps": "\n".join(processes.living(stack.folder).values()).encode(),
    }
    for path in stack.folder.rglob("*"):
        if path.is_file():
            try:
                found[str(path.relative_to(stack.folder))] = path.read_bytes()
            except FileNotFoundError:
                # It was a file for a moment only.
                continue
    # A value may lie in pieces on the database's pages.
    with sqlite3.connect(f"file:{stack.folder / 'jupyterhub.sqlite'}?mode=ro", uri=True) as database:
        found["rows of jupyterhub.sqlite"] = "\n".join(database.iterdump()).encode()
    return found


def shown(stack: Stack, secrets: dict[str, str], allowed: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Where a secret lies, and which; without the files that keep one for who needs it."""
    found = set()
    for place, content in places(stack).items():
        for what, secret in secrets.items():
            assert len(secret) >= 8, f"{what} is too short to be looked for"
            if secret.encode() in content and (place, what) not in allowed:
                found.add((place, what))
    return found


def secrets_of(stack: OverheardStack, job: str, which: str) -> dict[str, str]:
    (server,) = stack.user_servers()
    code, ticket = stack.overheard.exchange(job)
    return {
        f"{which} API token": environment_of(server)["JUPYTERHUB_API_TOKEN"],
        f"{which} one-time code": code,
        f"{which} ticket": ticket,
    }


def owner_of(stack: Stack, token: str) -> int:
    """The hub's answer to somebody who holds a token."""
    headers = {"Authorization": f"token {token}"}
    return requests.get(f"{stack.hub.url}/hub/api/user", headers=headers, timeout=30).status_code


def test_no_secret_of_a_whole_run_shows_and_a_second_start_has_new_ones(stack):
    alice = Browser(stack.hub)
    alice.sign_in("alice", stack.password("alice"))
    alice.spawn("alice", profile="small")
    alice.wait_ready("alice")
    assert "jupyter-config-data" in alice.get("/user/alice/lab").text
    (proxy,) = [pid for pid, line in processes.living(stack.folder).items() if "configurable-http-proxy" in line]
    (job,) = stack.living_jobs()
    secrets = {
        "the password": stack.password("alice"),
        "the service's token": stack.token,
        "the proxy's token": environment_of(proxy)["CONFIGPROXY_AUTH_TOKEN"],
        "the cookie secret": (stack.folder / "jupyterhub_cookie_secret").read_text().strip(),
        "the hub's environment": HUB_CANARY,
        "alice's token at the service": stack.hub.service_sign_in(alice),
        **secrets_of(stack, job, "the first"),
    }
    assert owner_of(stack, secrets["the first API token"]) == 200
    allowed = {
        ("service-token", "the service's token"),
        ("jupyterhub_cookie_secret", "the cookie secret"),
        # The directory's demo tells the passwords it made up.
        ("users.passwords.json", "the password"),
    }

    planted = planted_everywhere(stack)
    assert {place for place, _ in planted} >= {"qstat", "ps", "planted.log"}, planted

    running = shown(stack, secrets, allowed)
    for place, what in running:
        # PBS keeps the script while its job runs, for itself, and the code in it is spent; JupyterLab says in its owner's home
        # how it is reached.
        assert (place.split("/")[0], what) in {
            ("pbs", "the first one-time code"),
            ("homes", "the first API token"),
        }, running
        path = stack.folder / place
        assert any(one.stat().st_mode & 0o077 == 0 for one in (path, *list(path.parents)[: place.count("/")])), place

    alice.stop("alice")
    until(lambda: not stack.user_servers(), "the user server to end", evidence=stack.logs)
    searched = places(stack)
    for part in ("hub.log", "nuna-spawner.log", "nuna-pbs.log", "nuna-directory.log", "jupyterhub.sqlite"):
        assert searched[part], part
    assert any(place.startswith("service/") and content for place, content in searched.items()), "the journal"
    assert any(place.startswith(("home/", "homes/")) and ".o" in place for place in searched), "the job's output"
    left = shown_outside_homes(stack, secrets, allowed)
    assert left == set(), "after the end nothing is left, nor in PBS's spool"
    assert owner_of(stack, secrets["the first API token"]) == 403

    alice.spawn("alice", profile="small")
    alice.wait_ready("alice")
    (job,) = stack.living_jobs()
    second = secrets_of(stack, job, "the second")
    assert len({*second.values(), *(secrets[what.replace("second", "first")] for what in second)}) == 6
    assert owner_of(stack, second["the second API token"]) == 200
    assert owner_of(stack, secrets["the first API token"]) == 403
    alice.stop("alice")
    until(lambda: not stack.user_servers(), "the user server to end", evidence=stack.logs)
    assert shown_outside_homes(stack, {**secrets, **second}, allowed) == set()
    assert owner_of(stack, second["the second API token"]) == 403


def shown_outside_homes(stack: Stack, secrets: dict[str, str], allowed: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """After the end. A JupyterLab that was killed before it could tidy up leaves its own file, which says how it was reached,
    in its owner's closed home; the token in it is revoked."""
    tokens = {"the first API token", "the second API token"}
    found = shown(stack, secrets, allowed)
    return {(place, what) for place, what in found if not (place.startswith("homes/") and what in tokens)}


def planted_everywhere(stack: Stack) -> set[tuple[str, str]]:
    """What the search finds of a secret that is put into a file, a command line and a job's attributes."""
    # PBS remembers it, so it is no secret of the run.
    secret = token_hex(32)
    path = stack.folder / "planted.log"
    path.write_text(f"a line with {secret}\n")
    script = "#PBS -N planted\ntrue\n"
    environment = {**stack.user_environment(), "PLANTED": secret}
    command = [str(stack.folder / "commands" / "qsub"), "-h", "-v", "PLANTED"]
    made = subprocess.run(command, input=script, env=environment, capture_output=True, text=True, timeout=30)
    assert made.returncode == 0, made.stderr
    line = [sys.executable, "-c", "import time; time.sleep(600)", secret]
    process = subprocess.Popen(line, env={"NUNA_TEST_FOLDER": str(stack.folder)})
    try:
        until(lambda: secret in " ".join(processes.living(stack.folder).values()), "the planted process")
        return shown(stack, {"planted": secret}, set())
    finally:
        process.kill()
        process.wait()
        path.unlink()
        assert stack.command("qdel", made.stdout.strip()).returncode == 0
