"""Templates of the roles, filled in by Ansible itself, and the programs that read what comes out."""

import atexit
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import pytest
import yaml

# Ansible makes its folders as it is loaded, and the person's home is not the place.
os.environ["ANSIBLE_HOME"] = tempfile.mkdtemp(prefix="nuna-ansible-")
atexit.register(shutil.rmtree, os.environ["ANSIBLE_HOME"], ignore_errors=True)

from ansible.parsing.dataloader import DataLoader  # noqa: E402
from ansible.plugins.loader import init_plugin_loader  # noqa: E402
from ansible.template import Templar, trust_as_template  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ANSIBLE = REPOSITORY / "ansible"
BIN = pathlib.Path(sys.executable).parent
sys.path.insert(0, str(ANSIBLE))
init_plugin_loader([])
ROLES = sorted(path.name for path in (ANSIBLE / "roles").iterdir())


def program(name: str) -> pathlib.Path:
    """A built program; a test fails without it, since one that is passed over proves nothing."""
    folder = pathlib.Path(os.environ.get("NUNA_BIN_DIR") or REPOSITORY / "target/debug")
    assert (folder / name).exists(), f"{folder / name} is missing: `cargo xtask setup`, or set NUNA_BIN_DIR"
    return folder / name


def ansible(tool: str, *words, home: pathlib.Path) -> subprocess.CompletedProcess:
    path = BIN / tool
    assert path.exists(), f"{path} is missing: `cargo xtask setup` installs hub-config/requirements-test.txt"
    environment = {
        "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "ANSIBLE_LOCAL_TEMP": str(home / "local"),
        "ANSIBLE_REMOTE_TEMP": str(home / "remote"),
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [str(path), *map(str, words)]
    return subprocess.run(command, cwd=ANSIBLE, env=environment, capture_output=True, text=True, timeout=240)


def defaults() -> dict:
    values = {}
    for role in ROLES:
        values |= yaml.safe_load((ANSIBLE / "roles" / role / "defaults/main.yml").read_text()) or {}
    return values


def site() -> dict:
    """What the example inventory says of its site."""
    return yaml.safe_load((ANSIBLE / "inventories/example.yml").read_text())["nuna"]["vars"]


def render(folder: pathlib.Path, values: dict) -> dict[str, pathlib.Path]:
    """Every template of every role, with the roles' defaults and `values`, by its name without `.j2`."""
    folder.mkdir()
    # In this process: a playbook takes some seconds for the same, and many tests have values of their own.
    templar = Templar(loader=DataLoader(), variables=defaults() | values)
    written = {}
    for template in sorted(ANSIBLE.glob("roles/*/templates/*.j2")):
        call = trust_as_template("{{ lookup('ansible.builtin.template', '" + str(template) + "') }}")
        written[template.stem] = folder / template.stem
        written[template.stem].write_text(str(templar.template(call)))
    assert len(written) >= 7
    return written


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """As on the example's site."""
    return render(tmp_path_factory.mktemp("example") / "out", site())


@pytest.fixture
def peers(tmp_path):
    """The embedded batch system and directory, as programs: where they are reached."""
    running = []

    def start(name, *words):
        log = open(tmp_path / f"{name}.log", "wb")  # noqa: SIM115
        command = [str(program(name)), *map(str, words), "--die-with-parent"]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        running.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def until(condition, what):
        deadline = time.monotonic() + 60
        while not condition():
            assert all(process.poll() is None for process in running), logs()
            assert time.monotonic() < deadline, f"{what} did not answer: {logs()}"
            time.sleep(0.05)

    def logs():
        return "\n".join(path.read_text(errors="replace") for path in tmp_path.glob("*.log"))

    address = tmp_path / "address"
    start("nuna-pbs", "server", "--state", tmp_path / "pbs")
    start("nuna-directory", "--demo", "--listen", "127.0.0.1:0", "--address-file", address, "--users", tmp_path / "users.toml")
    until(lambda: (tmp_path / "pbs/socket").exists(), "the batch system")
    until(lambda: address.exists() and address.read_text().strip(), "the directory")
    (tmp_path / "commands").mkdir()
    for name in ("qsub", "qstat", "qdel"):
        (tmp_path / "commands" / name).symlink_to(program("nuna-pbs"))
    yield {"directory": address.read_text().strip(), "commands": tmp_path / "commands", "pbs": tmp_path / "pbs"}
    for process in running:
        process.terminate()
        process.wait(60)
