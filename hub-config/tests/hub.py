"""A real JupyterHub with the demo's configuration behind a real nuna-proxy, and a browser without a screen."""

import json
import os
import re
import signal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import processes
import requests
from processes import REPOSITORY, VENV_BIN, until

EMBEDDED_CONFIG = REPOSITORY / "hub-config" / "embedded" / "jupyterhub_config.py"
#: In the hub's environment only: it must be found nowhere else.
HUB_CANARY = "canary-of-the-hub"
#: As the demo's, but a test should not wait for a poll.
CONFIG = """
load_subconfig({embedded!r})
c.NunaSpawner.poll_interval = 1
c.NunaAuthenticator.auth_refresh_age = 1
"""


class Hub:
    """Hub and proxy in `folder`. `service_port` is where the hub finds the service `nuna`; `settings` are further
    lines of its configuration."""

    def __init__(
        self, folder: Path, spawner_socket: str, service_port: int, token: str, hub_port: int, settings: str = ""
    ):
        self.folder = folder
        self.public_port, proxy_api_port = processes.free_ports(2)
        self.url = f"http://127.0.0.1:{self.public_port}"
        (folder / "bin").mkdir(exist_ok=True)
        # JupyterHub's own proxy class starts what is called so on PATH.
        (folder / "bin" / "configurable-http-proxy").symlink_to(processes.program("nuna-proxy"))
        (folder / "home").mkdir(exist_ok=True)
        self._token = token
        token_file = folder / "service-token"
        token_file.write_text(token + "\n")
        token_file.chmod(0o600)
        self._config = folder / "jupyterhub_config.py"
        self._config.write_text(CONFIG.format(embedded=str(EMBEDDED_CONFIG)) + settings)
        self._environment = {
            "PATH": f"{folder / 'bin'}:{VENV_BIN}:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "NUNA_HUB_CANARY": HUB_CANARY,
            "NUNA_UP_STATE": str(folder),
            "NUNA_UP_PORT": str(self.public_port),
            "NUNA_UP_HUB_PORT": str(hub_port),
            "NUNA_UP_PROXY_API_PORT": str(proxy_api_port),
            "NUNA_SPAWNER_SOCKET": spawner_socket,
            "NUNA_SERVICE_PORT": str(service_port),
            "NUNA_SERVICE_TOKEN_FILE": str(token_file),
        }
        self._process = None

    def start(self) -> None:
        self.launch()
        until(self._is_healthy, "the hub", evidence=self.log)

    def launch(self) -> None:
        """Starts the hub without waiting for it."""
        command = [VENV_BIN / "python", VENV_BIN / "jupyterhub", "-f", self._config]
        log = self.folder / "hub.log"
        self._process = processes.start(command, self._environment, log, cwd=self.folder)

    def stop(self) -> None:
        if self._process is not None:
            processes.end(self._process)

    def pause(self, is_paused: bool) -> None:
        """Stops the hub as a machine does that swaps, or lets it go on."""
        os.kill(self._process.pid, signal.SIGSTOP if is_paused else signal.SIGCONT)

    def pause_proxy(self, is_paused: bool) -> None:
        """The same for the proxy that the hub has started."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        (proxy,) = [pid for pid in children if Path(f"/proc/{pid}/exe").readlink().name == "nuna-proxy"]
        os.kill(int(proxy), signal.SIGSTOP if is_paused else signal.SIGCONT)

    def crash(self) -> None:
        """The hub is gone at once; its proxy stays, as after a real crash."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def log(self) -> str:
        return (self.folder / "hub.log").read_text(errors="replace")

    def whose(self, token: str) -> str:
        """Name of the user a token belongs to, as the hub tells its services."""
        answer = requests.get(f"{self.url}/hub/api/user", headers={"Authorization": f"token {token}"}, timeout=30)
        answer.raise_for_status()
        return answer.json()["name"]

    def service_sign_in(self, browser: "Browser") -> str:
        """The OAuth sign-in of the service `nuna`, as its gateway and a browser do it; returns the token."""
        callback = "/services/nuna/oauth_callback"
        query = {"client_id": "service-nuna", "redirect_uri": callback, "response_type": "code", "state": "s1"}
        answer = browser.get("/hub/api/oauth2/authorize", params=query, allow_redirects=False)
        assert answer.status_code == 302, "the hub asks the user before it tells the service who they are"
        target = urlsplit(answer.headers["Location"])
        code = parse_qs(target.query)["code"]
        assert target.path == callback
        data = {
            "client_id": "service-nuna",
            "client_secret": self._token,
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
        }
        answer = requests.post(f"{self.url}/hub/api/oauth2/token", data=data, timeout=30)
        answer.raise_for_status()
        return answer.json()["access_token"]

    def _is_healthy(self) -> bool:
        assert self._process.poll() is None, f"the hub ended:\n{self.log()}"
        try:
            return requests.get(f"{self.url}/hub/health", timeout=5).status_code == 200
        except requests.RequestException:
            return False


class Browser:
    """One person's session, over HTTP only."""

    def __init__(self, hub: Hub):
        self.hub = hub
        self._session = requests.Session()
        # JupyterHub hands its form token to navigations only.
        self._session.headers["Sec-Fetch-Mode"] = "navigate"

    def get(self, path: str, **more) -> requests.Response:
        return self._session.get(self.hub.url + path, timeout=60, **more)

    def post(self, path: str, data: dict) -> requests.Response:
        parameters = {"_xsrf": self._form_token()}
        return self._session.post(self.hub.url + path, params=parameters, data=data, timeout=60)

    def api(self, method: str, path: str, **more) -> requests.Response:
        url = f"{self.hub.url}/hub/api{path}"
        return self._session.request(method, url, headers=self.headers(), timeout=60, **more)

    def cookies(self) -> dict[str, str]:
        """As a page of the hub sends them."""
        return {cookie.name: cookie.value for cookie in self._session.cookies if not cookie.path.startswith("/user/")}

    def headers(self) -> dict[str, str]:
        return {"X-XSRFToken": self._form_token(), "Sec-Fetch-Mode": "cors"}

    def sign_in(self, user: str, password: str) -> requests.Response:
        self.get("/hub/login")
        data = {"username": user, "password": password, "_xsrf": self._form_token()}
        return self._session.post(f"{self.hub.url}/hub/login", data=data, timeout=60)

    def spawn(self, user: str, **form: str) -> requests.Response:
        self.get("/hub/spawn")
        return self.post(f"/hub/spawn/{user}", form)

    def server(self, user: str) -> dict | None:
        """The default server as the hub's API shows it; None if it is not active."""
        answer = self.api("GET", f"/users/{user}")
        answer.raise_for_status()
        return answer.json()["servers"].get("")

    def groups(self, user: str) -> list[str]:
        answer = self.api("GET", f"/users/{user}")
        answer.raise_for_status()
        return sorted(answer.json()["groups"])

    def wait_ready(self, user: str) -> None:
        def is_ready():
            server = self.server(user)
            assert server is not None, f"the spawn ended\n{self.hub.log()}"
            return server["ready"]

        until(is_ready, "the user server", evidence=self.hub.log)

    def wait_stopped(self, user: str) -> None:
        until(lambda: self.server(user) is None, "the server to stop", evidence=self.hub.log)

    def progress(self, user: str) -> list[dict]:
        """Events of a pending spawn, until the hub ends them."""
        answer = self.api("GET", f"/users/{user}/server/progress", stream=True)
        answer.raise_for_status()
        lines = (line for line in answer.iter_lines() if line.startswith(b"data: "))
        return [json.loads(line.removeprefix(b"data: ")) for line in lines]

    def stop(self, user: str) -> None:
        answer = self.api("DELETE", f"/users/{user}/server")
        assert answer.status_code in (202, 204), answer.text
        self.wait_stopped(user)

    def _form_token(self) -> str:
        # User servers have a token of the same name below their own path.
        tokens = {cookie.path: cookie.value for cookie in self._session.cookies if cookie.name == "_xsrf"}
        return tokens.get("/hub/", "")


def text_of(page: str) -> str:
    """Words of a page, without scripts, markup and line breaks."""
    page = re.sub(r"(?s)<script.*?</script>", " ", page)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
