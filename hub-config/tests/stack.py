"""All of the hub's side as real programs: batch system, directory, spawner service, hub and proxy, on loopback."""

import json
import os
import secrets
import signal
import subprocess
from pathlib import Path

import processes
from hub import Hub
from processes import VENV_BIN, until

PBS_CONFIG = """
server = "pbshead"
queue_delay_seconds = 0.2
kill_delay_seconds = 5
[[nodes]]
name = "node1"
ncpus = 8
mem = "64gb"
[[queues]]
name = "workq"
[[queues]]
name = "tiny"
max_ncpus = 2
[[queues]]
name = "closed"
enabled = false
[[queues]]
name = "stuck"
started = false
"""

PROFILES = """
[profiles.small]
title = "Small"
queue = "workq"
select = "1:ncpus=1:mem=1gb"
walltime = "01:00:00"

[profiles.ocean]
title = "Ocean"
queue = "workq"
select = "1:ncpus=1:mem=1gb"
walltime = "01:00:00"
groups = ["ocean"]

[profiles.greedy]
title = "Greedy"
queue = "tiny"
select = "1:ncpus=4:mem=1gb"
walltime = "01:00:00"

[profiles.closed]
title = "Closed"
queue = "closed"
select = "1:ncpus=1:mem=1gb"
walltime = "01:00:00"

[profiles.stuck]
title = "Stuck"
queue = "stuck"
select = "1:ncpus=1:mem=1gb"
walltime = "01:00:00"

[profiles.brief]
title = "Brief"
queue = "workq"
select = "1:ncpus=1:mem=1gb"
walltime = "00:00:01"
"""


class Stack:
    pbs_config = PBS_CONFIG

    def __init__(self, folder: Path, profiles: str = ""):
        self.folder = folder
        self._profiles = PROFILES + profiles
        self.token = secrets.token_hex(32)
        self.socket = folder / "spawner.sock"
        self.service_port, self.hub_port = processes.free_ports(2)
        for name in ("home", "homes", "homes/alice", "homes/bob", "pbs", "service", "commands"):
            (folder / name).mkdir(mode=0o700)
        for name in ("qsub", "qstat", "qdel"):
            (folder / "commands" / name).symlink_to(processes.program("nuna-pbs"))
        self._environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder / "home"), "NUNA_TEST_FOLDER": str(folder)}
        self._running: dict[str, subprocess.Popen] = {}
        self.hub = self._new_hub()

    def _new_hub(self) -> Hub:
        return Hub(self.folder, str(self.socket), self.service_port, self.token, self.hub_port)

    def start(self) -> None:
        self.start_pbs()
        address = self.start_directory()
        (self.folder / "spawner.toml").write_text(self._spawner_config(address))
        self.start_service()
        self.hub.start()

    def start_pbs(self) -> None:
        (self.folder / "pbs.toml").write_text(self.pbs_config)
        arguments = ["server", "--die-with-parent", "--state", self.folder / "pbs", "--config", self.folder / "pbs.toml"]
        self._start("nuna-pbs", arguments)
        until(lambda: self.command("qstat", "-B").returncode == 0, "the batch server", evidence=self.logs)

    def start_directory(self) -> str:
        address_file = self.folder / "directory.address"
        arguments = ["--die-with-parent", "--demo", "--listen", "127.0.0.1:0", "--address-file", address_file]
        self._start("nuna-directory", [*arguments, "--users", self.folder / "users.toml"])
        return until(lambda: address_file.exists() and address_file.read_text().strip(), "the directory", evidence=self.logs)

    def start_service(self) -> None:
        self._start("nuna-spawner", ["serve", "--die-with-parent", "--config", self.folder / "spawner.toml"])
        until(lambda: self.socket.exists() and processes.accepts(self.service_port), "the service", evidence=self.logs)

    def crash(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def pause(self, name: str, is_paused: bool) -> None:
        """Stops a program as a machine does that swaps, or lets it go on."""
        os.kill(self._running[name].pid, signal.SIGSTOP if is_paused else signal.SIGCONT)

    def stop(self) -> None:
        self.hub.stop()
        for process in reversed(list(self._running.values())):
            processes.end(process)

    def password(self, user: str) -> str:
        return json.loads((self.folder / "users.passwords.json").read_text())[user]

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        """A PBS command, as an administrator would type it."""
        command = [str(self.folder / "commands" / name), *arguments]
        return subprocess.run(command, env=self.user_environment(), capture_output=True, text=True, timeout=30)

    def user_environment(self) -> dict[str, str]:
        """With which PBS commands find their server."""
        return {**self._environment, "NUNA_PBS_DIR": str(self.folder / "pbs")}

    def user_servers(self) -> list[int]:
        """Processes that are notebook servers."""
        return [pid for pid, command in processes.living(self.folder).items() if "jupyterhub-singleuser" in command]

    def jobs(self) -> dict[str, dict]:
        """All jobs PBS remembers, by id, with all their attributes."""
        return json.loads(self.command("qstat", "-x", "-f", "-F", "json").stdout).get("Jobs", {})

    def living_jobs(self) -> dict[str, dict]:
        return {name: job for name, job in self.jobs().items() if job["job_state"] != "F"}

    def logs(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-20000:]}" for log in logs)

    def _start(self, name: str, arguments: list) -> None:
        log = self.folder / f"{name}.log"
        self._running[name] = processes.start([processes.program(name), *arguments], self._environment, log)

    def _spawner_config(self, directory: str) -> str:
        folder = self.folder
        return f"""
[socket]
path = "{self.socket}"
[nodes]
listen = "127.0.0.1:{self.service_port}"
url = "http://127.0.0.1:{self.service_port}/services/nuna"
[hub]
api_url = "http://127.0.0.1:{self.hub_port}/hub/api"
api_token_file = "{folder}/service-token"
[state]
folder = "{folder}/service"
[directory]
servers = ["ldap://{directory}"]
user_dn = "uid={{user}},ou=people,dc=nuna,dc=local"
group_base = "ou=groups,dc=nuna,dc=local"
admin_groups = ["hub-admins"]
timeout_seconds = 3
[batch]
qsub = "{folder}/commands/qsub"
qstat = "{folder}/commands/qstat"
qdel = "{folder}/commands/qdel"
run_as = "label"
interval_seconds = 0.3
environment = {{ NUNA_PBS_DIR = "{folder}/pbs" }}
[launcher]
program = "{processes.program("nuna-singleuser")}"
home = "{folder}/homes/{{user}}"
path = "{VENV_BIN}:/usr/bin:/bin"
{self._profiles}"""
