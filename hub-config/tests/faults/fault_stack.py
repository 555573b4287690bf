"""The stack with a wire before each part, and what can happen to a part: killed, paused, cut off."""

import os
import secrets
import signal
import sys
from pathlib import Path

import processes
from hub import Hub
from processes import until
from relay import Relay
from stack import PBS_CONFIG, Stack

#: One for each state of the life cycle, and one who comes while something is wrong.
PEOPLE = ("running", "starting", "queued", "submitting", "stopping", "failed", "newcomer")
PARTS = ("hub", "spawner", "proxy", "pbs", "directory")
FAULTS = ("killed", "paused", "cut")

#: A second node, with the only room for a large job and one core: who waits for it waits for a job of ours.
PBS_NODE = """
[[nodes]]
name = "node2"
ncpus = 1
mem = "512gb"
"""
PROFILE = """
[profiles.large]
title = "Large"
queue = "workq"
select = "1:ncpus=1:mem=256gb"
walltime = "01:00:00"
"""
USER_SERVER = Path(__file__).with_name("user_server.py")


def users_file() -> str:
    users = [
        f'[[users]]\nuid = "{name}"\ncn = "{name}"\nuid_number = {2001 + number}\ngid_number = 3000\n'
        for number, name in enumerate(PEOPLE)
    ]
    group = f'[[groups]]\ncn = "users"\ngid_number = 3000\nmembers = {list(PEOPLE)}\n'
    return "\n".join(['suffix = "dc=nuna,dc=local"', *users, group])


class FaultStack(Stack):
    """As a site runs it: the proxy is a service of its own, and not the hub's child."""

    pbs_config = PBS_CONFIG + PBS_NODE

    def __init__(self, folder: Path):
        (self._proxy_port, self._proxy_api_port, self._proxy_api_wire, self._hub_wire, self._nodes_wire) = (
            processes.free_ports(5)
        )
        self._directory_port, self._directory_wire = processes.free_ports(2)
        self._proxy_token = secrets.token_hex(32)
        super().__init__(folder)
        for name in PEOPLE:
            (folder / "homes" / name).mkdir(mode=0o700)
        (folder / "wires").mkdir(mode=0o700)
        users = folder / "users.toml"
        users.write_text(users_file())
        users.chmod(0o600)
        self.wires = {
            "hub": [Relay(self._hub_wire, self.hub_port)],
            "spawner": [Relay(folder / "wires" / "spawner", self.socket), Relay(self._nodes_wire, self.service_port)],
            "proxy": [
                Relay(self.hub.public_port, self._proxy_port),
                Relay(self._proxy_api_wire, self._proxy_api_port),
            ],
            "pbs": [Relay(folder / "wires" / "socket", folder / "pbs" / "socket")],
            "directory": [Relay(self._directory_wire, self._directory_port)],
        }
        self._programs = {"spawner": "nuna-spawner", "proxy": "nuna-proxy", "pbs": "nuna-pbs"}
        self._programs["directory"] = "nuna-directory"

    def _new_hub(self) -> Hub:
        settings = f"""
c.JupyterHub.hub_connect_url = "http://127.0.0.1:{self._hub_wire}"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{self._proxy_api_wire}"
c.ConfigurableHTTPProxy.auth_token = "{self._proxy_token}"
c.JupyterHub.last_activity_interval = 60
c.NunaAuthenticator.auth_refresh_age = 300
c.Spawner.cmd = ["{sys.executable}", "{USER_SERVER}"]
c.Spawner.default_url = ""
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 1, "slow_stop_timeout": 1}}
"""
        socket = str(self.folder / "wires" / "spawner")
        return Hub(self.folder, socket, self.service_port, self.token, self.hub_port, settings)

    def start(self) -> None:
        self.start_proxy()
        super().start()

    def start_proxy(self) -> None:
        arguments = ["--ip", "127.0.0.1", "--port", self._proxy_port]
        arguments += ["--api-ip", "127.0.0.1", "--api-port", self._proxy_api_port]
        arguments += ["--error-target", f"http://127.0.0.1:{self._hub_wire}/hub/error"]
        environment = {**self._environment, "CONFIGPROXY_AUTH_TOKEN": self._proxy_token}
        command = [processes.program("nuna-proxy"), *arguments]
        self._running["nuna-proxy"] = processes.start(command, environment, self.folder / "nuna-proxy.log")
        until(lambda: processes.accepts(self._proxy_api_port), "the proxy", evidence=self.logs)

    def start_directory(self) -> str:
        address_file = self.folder / "directory.address"
        address_file.unlink(missing_ok=True)
        arguments = ["--die-with-parent", "--listen", f"127.0.0.1:{self._directory_port}"]
        arguments += ["--address-file", address_file, "--users", self.folder / "users.toml"]
        self._start("nuna-directory", arguments)
        until(lambda: address_file.exists() and address_file.read_text().strip(), "the directory", evidence=self.logs)
        return f"127.0.0.1:{self._directory_wire}"

    def stop(self) -> None:
        super().stop()
        for wire in [wire for wires in self.wires.values() for wire in wires]:
            wire.close()

    def block_the_large_node(self) -> str:
        """A job on the node that large jobs wait for; it ends once the file `blocker` is gone."""
        (self.folder / "blocker").write_text("")
        script = self.folder / "blocker.sh"
        script.write_text(f"#PBS -N blocker\nwhile [ -e {self.folder}/blocker ]; do sleep 0.1; done\n")
        asked = self.command("qsub", "-l", "select=1:ncpus=1:mem=256gb", "-o", "/dev/null", "-j", "oe", str(script))
        assert asked.returncode == 0, asked.stderr
        name = asked.stdout.strip()
        until(lambda: self.jobs()[name]["job_state"] == "R", "the job that blocks a node", evidence=self.logs)
        return name

    # What happens to a part

    def strike(self, part: str, fault: str) -> None:
        if fault == "cut":
            for wire in self.wires[part]:
                wire.silence()
        elif fault == "paused":
            self._signal(part, signal.SIGSTOP)
        elif part == "pbs":
            # Jobs of a PBS server go on without it, those of the embedded one would not: from outside, a server that
            # does nothing and takes no connection is one that was killed.
            self._signal(part, signal.SIGSTOP)
            for wire in self.wires[part]:
                wire.refuse()
        elif part == "hub":
            self.hub.crash()
        else:
            self.crash(self._programs[part])

    def heal(self, part: str, fault: str) -> None:
        """As an administrator or systemd does; waits for nothing."""
        if fault == "cut":
            for wire in self.wires[part]:
                wire.flow()
        elif fault == "paused":
            self._signal(part, signal.SIGCONT)
        elif part == "pbs":
            self._signal(part, signal.SIGCONT)
            for wire in self.wires[part]:
                wire.accept()
        elif part == "hub":
            self.hub.launch()
        elif part == "proxy":
            self.start_proxy()
        elif part == "spawner":
            self.start_service()
        else:
            self.start_directory()

    def _signal(self, part: str, what: int) -> None:
        if part == "hub":
            self.hub.pause(what == signal.SIGSTOP)
        else:
            os.kill(self._running[self._programs[part]].pid, what)

    def _spawner_config(self, directory: str) -> str:
        text = super()._spawner_config(directory)
        changes = {
            f"http://127.0.0.1:{self.service_port}/services/nuna": f"http://127.0.0.1:{self._nodes_wire}/services/nuna",
            f"http://127.0.0.1:{self.hub_port}/hub/api": f"http://127.0.0.1:{self._hub_wire}/hub/api",
            f'NUNA_PBS_DIR = "{self.folder}/pbs"': f'NUNA_PBS_DIR = "{self.folder}/wires"',
        }
        for old, new in changes.items():
            assert text.count(old) == 1, f"{old} is not in the configuration once"
            text = text.replace(old, new)
        return text + PROFILE
