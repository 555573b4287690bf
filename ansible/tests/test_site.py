"""A site as the play configures it, without systemd: the units' own commands, on loopback, with TLS.

What systemd would do is done by hand here: it reads environment files, hands over credentials, and gives each
service its folders. Accounts, sudo and hardening are not tried: all of it runs as one account.
"""

import datetime
import getpass
import ipaddress
import json
import os
import re
import secrets
import shlex
import sys
from pathlib import Path

import pytest
import requests
from conftest import REPOSITORY, program, render, site
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(REPOSITORY / "hub-config/tests"))

import processes  # noqa: E402
from hub import Browser  # noqa: E402
from processes import until  # noqa: E402


def certificate(folder: Path) -> None:
    """For `localhost`, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    plain = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(plain)


class Site:
    """Services by their units, in the order of the play."""

    def __init__(self, folder: Path, peers: dict):
        self.folder = folder
        ports = processes.free_ports(6)
        self.port = ports[0]
        self.url = f"https://localhost:{self.port}"
        for name in ("credentials", "etc/secrets", "state", "hub", "run", "homes/alice", "prefix/current"):
            (folder / name).mkdir(parents=True, mode=0o700)
        (folder / "prefix/current/bin").symlink_to(program("nuna-spawner").parent)
        (folder / "prefix/venv").symlink_to(REPOSITORY / "build/venv")
        certificate(folder / "credentials")
        self.token = secrets.token_hex(32)
        for path in ("etc/secrets/service.token", "credentials/service-token"):
            (folder / path).write_text(self.token + "\n")
            (folder / path).chmod(0o600)
        self.proxy_token = secrets.token_hex(32)
        more = 'c.Spawner.args = ["--allow-root"]' if os.getuid() == 0 else ""
        batch = {name: str(peers["commands"] / name) for name in ("qsub", "qstat", "qdel")}
        values = {
            "nuna_prefix": str(folder / "prefix"),
            "nuna_configuration": str(folder / "etc"),
            "nuna_state": str(folder / "state"),
            "nuna_hub_state": str(folder / "hub"),
            "nuna_socket": str(folder / "run/spawner.sock"),
            "nuna_hub_user": getpass.getuser(),
            "nuna_public_url": self.url,
            "nuna_public_ip": "127.0.0.1",
            "nuna_public_port": self.port,
            "nuna_redirect_port": ports[1],
            "nuna_service_listen": "127.0.0.1",
            "nuna_node_side_address": "127.0.0.1",
            "nuna_service_port": ports[2],
            "nuna_hub_port": ports[3],
            "nuna_proxy_api_port": ports[4],
            "nuna_proxy_metrics_port": ports[5],
            "nuna_directory": {
                "servers": [f"ldap://{peers['directory']}"],
                "user_dn": "uid={user},ou=people,dc=nuna,dc=local",
                "group_base": "ou=groups,dc=nuna,dc=local",
            },
            # No sudo here: the embedded batch system is told whose job it is.
            "nuna_batch": batch | {"run_as": "label", "interval_seconds": 0.3, "environment": {"NUNA_PBS_DIR": str(peers["pbs"])}},
            "nuna_launcher": {
                "home": str(folder / "homes/{user}"),
                # As on a site with an authority of its own.
                "environment": {"SSL_CERT_FILE": str(folder / "credentials/tls.crt")},
            },
            "nuna_hub_configuration": more,
        }
        self.redirect_port, self.metrics_port = ports[1], ports[5]
        self.files = render(folder / "out", site() | values)
        for name in ("spawner.toml", "jupyterhub_config.py"):
            (folder / "etc" / name).write_bytes(self.files[name].read_bytes())
        self._running = []

    def start(self) -> None:
        for unit in ("nuna-spawner", "nuna-proxy", "nuna-hub"):
            self._start(unit)
        until(self._is_healthy, "the hub", evidence=self.log)

    def stop(self) -> None:
        for process in reversed(self._running):
            processes.end(process)

    def log(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-6000:]}" for path in self.folder.glob("*.log"))

    def browser(self) -> Browser:
        browser = Browser(self)
        # A bundle of authorities named in the environment would be taken instead.
        browser._session.trust_env = False
        browser._session.verify = str(self.folder / "credentials/tls.crt")
        return browser

    def _start(self, unit: str) -> None:
        text = self.files[f"{unit}.service"].read_text().replace("\\\n", " ")
        command = re.search(r"^ExecStart=(.*)$", text, re.M)[1]
        credentials = str(self.folder / "credentials")
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self.folder / "hub")}
        if "LoadCredential=" in text:
            environment["CREDENTIALS_DIRECTORY"] = credentials
        if "EnvironmentFile=" in text:
            environment["CONFIGPROXY_AUTH_TOKEN"] = self.proxy_token
        words = shlex.split(command.replace("${CREDENTIALS_DIRECTORY}", credentials))
        self._running.append(processes.start(words, environment, self.folder / f"{unit}.log", cwd=self.folder / "hub"))

    def _is_healthy(self) -> bool:
        for process in self._running:
            assert process.poll() is None, self.log()
        try:
            verify = str(self.folder / "credentials/tls.crt")
            return requests.get(f"{self.url}/hub/health", timeout=5, verify=verify).status_code == 200
        except requests.RequestException:
            return False


@pytest.fixture
def running(tmp_path, peers):
    site = Site(tmp_path / "site", peers)
    try:
        site.start()
        yield site
    finally:
        site.stop()


def test_people_sign_in_and_get_a_server_over_tls(running, peers, tmp_path):
    passwords = json.loads((tmp_path / "users.passwords.json").read_text())
    browser = running.browser()
    assert browser.sign_in("alice", "not it").status_code == 403
    answer = browser.sign_in("alice", passwords["alice"])
    assert answer.ok, answer.text[:2000]
    cookies = list(browser._session.cookies)
    assert cookies and all(cookie.secure for cookie in cookies if "hub" in cookie.name), cookies

    # The example's other profile is for another group's members only.
    form = browser.get("/hub/spawn").text
    assert 'value="small"' in form
    assert browser.spawn("alice", profile="small").ok
    browser.wait_ready("alice")
    # The user server asks the hub who this is, through the proxy and its certificate.
    page = browser.get("/user/alice/lab")
    assert (page.status_code, page.url) == (200, f"{running.url}/user/alice/lab"), (page.url, running.log())
    assert browser.get("/user/alice/api/status").status_code == 200

    # The gateway of dashboards signs in by the hub, and finds no cluster yet.
    clusters = browser.get("/services/nuna/")
    assert clusters.status_code == 200, (clusters.url, clusters.text[:500], running.log())
    found = browser.get("/services/nuna/api/clusters")
    assert (found.status_code, found.json()) == (200, [])
    session = [cookie for cookie in browser._session.cookies if cookie.name == "service-nuna-session"]
    assert session and session[0].secure

    # Plain HTTP is sent on, and metrics are on a port of their own.
    moved = requests.get(f"http://127.0.0.1:{running.redirect_port}/hub/home", timeout=10, allow_redirects=False)
    assert moved.status_code in (301, 302, 307, 308) and moved.headers["Location"].startswith("https://")
    assert "routes" in requests.get(f"http://127.0.0.1:{running.metrics_port}/metrics", timeout=10).text

    assert browser.api("DELETE", "/users/alice/server").status_code in (202, 204)
    until(lambda: browser.server("alice") is None, "the end of the server", evidence=running.log)
    for secret in (running.token, running.proxy_token, passwords["alice"]):
        assert secret not in running.log()
