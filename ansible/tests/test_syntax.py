"""The play is well formed, and the programs accept what its templates become."""

import getpass
import py_compile
import re
import shlex
import socket
import subprocess
import sys
import tomllib

import pytest
import yaml
from conftest import ANSIBLE, REPOSITORY, ROLES, ansible, defaults, program, render, site


def check_config(path):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(path.parent)}
    command = [str(program("nuna-spawner")), "check", "--config", str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def closed(tmp_path):
    """Folders and the one secret, as the play makes them."""
    (tmp_path / "etc/secrets").mkdir(parents=True)
    for name in ("state", "run"):
        (tmp_path / name).mkdir(mode=0o700)
    token = tmp_path / "etc/secrets/service.token"
    token.write_text("0" * 64 + "\n")
    token.chmod(0o600)
    return {
        "nuna_configuration": str(tmp_path / "etc"),
        "nuna_state": str(tmp_path / "state"),
        "nuna_socket": str(tmp_path / "run/spawner.sock"),
        # The service looks up the hub's account, and here is only our own.
        "nuna_hub_user": getpass.getuser(),
        "nuna_service_listen": "127.0.0.1",
        "nuna_service_port": free_port(),
    }


def test_syntax(tmp_path):
    done = ansible("ansible-playbook", "--syntax-check", "-i", "inventories/example.yml", "site.yml", home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_variable_is_described_and_has_a_default_or_is_required():
    for role in ROLES:
        described = yaml.safe_load((ANSIBLE / "roles" / role / "meta/argument_specs.yml").read_text())
        options = described["argument_specs"]["main"]["options"]
        given = yaml.safe_load((ANSIBLE / "roles" / role / "defaults/main.yml").read_text())
        # One role describes a variable, even if several use it.
        assert set(given) <= set(options), f"{role}: not described: {set(given) - set(options)}"
        for name, option in options.items():
            assert option.get("description"), f"{role}: {name} has no description"
            assert option.get("required") or name in given, f"{role}: {name} is not required and has no default"
            if "default" in option:
                assert option["default"] == given[name], f"{role}: {name} has two defaults"


def test_every_variable_that_is_used_exists():
    known = set(defaults()) | set(site())
    known |= {"nuna_release", "nuna_spawner", "nuna_hub"}  # the fact, and names of units and packages
    for path in sorted(ANSIBLE.glob("roles/**/*.*")):
        if path.suffix not in (".yml", ".j2"):
            continue
        text = path.read_text()
        registered = set(re.findall(r"register: (nuna_\w+)", text))
        expressions = " ".join(re.findall(r"\{\{.*?\}\}|\{%.*?%\}|(?:when|that):[^\n]*(?:\n +- [^\n]*)*", text, re.S))
        used = set(re.findall(r"\bnuna_[a-z_]+\b", expressions))
        assert used <= known | registered, f"{path.relative_to(ANSIBLE)}: {used - known - registered}"


def test_pinned_packages_are_those_the_tests_run_with():
    pinned = (REPOSITORY / "hub-config/requirements.txt").read_text().split()
    assert [name for name in defaults()["nuna_python_packages"] if name not in pinned] == []


def test_service_accepts_its_configuration_and_finds_directory_and_pbs(tmp_path, closed, peers):
    batch = {name: str(peers["commands"] / name) for name in ("qsub", "qstat", "qdel")}
    # The check calls the helper as the service will. A machine that tests need not have sudo, nor a line for it.
    (tmp_path / "bin").mkdir()
    sudo = tmp_path / "bin/sudo"
    sudo.write_text('#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n')
    sudo.chmod(0o755)
    environment = {"NUNA_PBS_DIR": str(peers["pbs"]), "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    values = closed | {
        "nuna_directory": {
            "servers": [f"ldap://{peers['directory']}"],
            "user_dn": "uid={user},ou=people,dc=nuna,dc=local",
            "group_base": "ou=groups,dc=nuna,dc=local",
            "admin_groups": ["hub-admins"],
        },
        "nuna_batch": batch | {"environment": environment},
        "nuna_submit_program": str(program("nuna-submit")),
        "nuna_launcher": {"program": str(program("nuna-singleuser")), "environment": {"OMP_NUM_THREADS": "1"}},
        # The check asks where the name leads that nodes are given.
        "nuna_node_side_address": "127.0.0.1",
    }
    done = check_config(render(tmp_path / "out", site() | values)["spawner.toml"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout
    assert f"ldap://{peers['directory']} answers" in done.stdout
    assert "this account may call the helper" in done.stdout
    assert "PBS server" in done.stdout


def test_defaults_of_the_roles_are_settings_the_service_knows(tmp_path, closed):
    # Nobody listens there, so everything after the file itself is found wanting at once.
    nowhere = {"nuna_directory": site()["nuna_directory"] | {"servers": ["ldap://127.0.0.1:1"]}}
    path = render(tmp_path / "out", site() | closed | nowhere)["spawner.toml"]
    done = check_config(path)
    assert "every key is known and every value fits" in done.stdout, done.stdout
    config = tomllib.loads(path.read_text())
    assert config["batch"]["run_as"] == ["sudo", "-n", "/usr/libexec/nuna-submit"]
    assert config["hub"]["public_origin"] == "https://hub.example.org"
    assert config["profiles"]["ocean"]["options"]["cores"]["choices"] == ["4", "14", "28"]


def test_odd_texts_survive_the_template(tmp_path, closed):
    profiles = {"odd": {"title": 'Größe "L" \\ 7 µm', "queue": "q", "select": "1:ncpus=1", "walltime": "01:00:00"}}
    whole = {"value": "28", "title": 'A "whole" node'}
    cores = {"kind": "choice", "title": "Cores", "choices": ["4", whole], "default": "4", "for_groups": {"ocean": [whole]}}
    profiles["odd"] |= {"select": "1:ncpus={cores}", "options": {"cores": cores}}
    path = render(tmp_path / "out", site() | closed | {"nuna_profiles": profiles})["spawner.toml"]
    assert tomllib.loads(path.read_text())["profiles"] == profiles
    assert "every key is known and every value fits" in check_config(path).stdout


def test_a_mistake_in_a_variable_is_named(tmp_path, closed):
    limits = {"nuna_limits": {"queue_wait": 5}}
    done = check_config(render(tmp_path / "out", site() | closed | limits)["spawner.toml"])
    assert done.returncode != 0
    assert "queue_wait" in done.stdout


def test_hub_configuration_is_python_and_has_no_secret(rendered, tmp_path):
    py_compile.compile(str(rendered["jupyterhub_config.py"]), cfile=str(tmp_path / "compiled"), doraise=True)
    text = rendered["jupyterhub_config.py"].read_text()
    assert "CREDENTIALS_DIRECTORY" in text
    assert not re.search(r"[0-9a-f]{32}", text)


def test_hub_configuration_is_what_jupyterhub_knows(rendered, tmp_path):
    """Each setting is a trait of the class it is set on: JupyterHub itself only warns about others."""
    script = f"""
import os, sys
from jupyterhub.app import JupyterHub
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.spawner import Spawner
from nuna_hub import NunaAuthenticator, NunaSpawner
from traitlets.config import PyFileConfigLoader
os.environ["CREDENTIALS_DIRECTORY"] = {str(tmp_path)!r}
open({str(tmp_path / "service-token")!r}, "w").write("t")
config = PyFileConfigLoader({str(rendered["jupyterhub_config.py"])!r}).load_config()
classes = {{c.__name__: c for c in (JupyterHub, ConfigurableHTTPProxy, Spawner, NunaAuthenticator, NunaSpawner)}}
for section, settings in config.items():
    unknown = set(settings) - set(classes[section].class_trait_names(config=True))
    assert not unknown, (section, unknown)
hub = JupyterHub(config=config)
assert hub.hub_bind_url == "http://127.0.0.1:8081", hub.hub_bind_url
assert ConfigurableHTTPProxy(config=config, auth_token="t").should_start is False
"""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY / "hub-config")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_helper_reads_its_configuration(rendered):
    config = tomllib.loads(rendered["submit.toml"].read_text())
    assert config == {"qsub": "/opt/pbs/bin/qsub", "qdel": "/opt/pbs/bin/qdel"}


def test_helper_runs_the_commands_that_the_service_names(tmp_path):
    batch = {"qsub": "/usr/bin/qsub", "qdel": "/usr/bin/qdel", "qstat": "/usr/bin/qstat"}
    submit = {"limit_seconds": 30, "groups": ["hpc"], "environment": {"PBS_CONF_FILE": "/etc/pbs.conf"}}
    out = render(tmp_path / "out", site() | {"nuna_batch": batch, "nuna_submit": submit})
    config = tomllib.loads(out["submit.toml"].read_text())
    assert config == {"qsub": "/usr/bin/qsub", "qdel": "/usr/bin/qdel"} | submit
    known = re.findall(r"pub (\w+): ", (REPOSITORY / "spawner/crates/submit/src/config.rs").read_text())
    assert set(config) <= set(known)


def test_on_slurm_both_files_name_slurm_s_commands_and_none_of_pbs(tmp_path):
    out = render(tmp_path / "out", site() | {"nuna_batch": {"system": "slurm"}})
    helper = tomllib.loads(out["submit.toml"].read_text())
    assert helper == {"sbatch": "/usr/bin/sbatch", "scancel": "/usr/bin/scancel"}
    batch = tomllib.loads(out["spawner.toml"].read_text())["batch"]
    assert batch == {"system": "slurm", "run_as": ["sudo", "-n", "/usr/libexec/nuna-submit"]}


def test_sudo_gives_one_program_to_one_account(rendered):
    lines = [line for line in rendered["sudoers"].read_text().splitlines() if line and not line.startswith("#")]
    assert lines == [
        "Defaults!/usr/libexec/nuna-submit env_reset, !setenv, !requiretty",
        "nuna ALL=(root) NOPASSWD:NOSETENV: /usr/libexec/nuna-submit",
    ]


def settings_of(unit):
    lines = [line for line in unit.read_text().replace("\\\n", " ").splitlines() if "=" in line and not line.startswith("#")]
    return [tuple(line.split("=", 1)) for line in lines]


#: systemd.exec(5): without root, each of these implies NoNewPrivileges=yes.
IMPLY_NO_NEW_PRIVILEGES = {
    "SystemCallFilter", "SystemCallArchitectures", "RestrictAddressFamilies", "RestrictNamespaces", "PrivateDevices",
    "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectClock", "ProtectHostname",
    "MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID", "DynamicUser", "LockPersonality",
}  # fmt: skip


def test_only_the_unit_that_needs_sudo_can_gain_privileges(rendered):
    spawner = dict(settings_of(rendered["nuna-spawner.service"]))
    assert spawner["NoNewPrivileges"] == "no"
    assert not IMPLY_NO_NEW_PRIVILEGES & set(spawner), "sudo would not work"
    for name in ("nuna-hub.service", "nuna-proxy.service"):
        settings = dict(settings_of(rendered[name]))
        assert settings["NoNewPrivileges"] == "yes"
        assert settings["SystemCallArchitectures"] == "native"
    for name in ("nuna-spawner.service", "nuna-hub.service", "nuna-proxy.service"):
        assert dict(settings_of(rendered[name]))["ProtectSystem"] == "strict"


@pytest.mark.parametrize(("ip", "host"), [("", ""), ("192.0.2.1", "192.0.2.1:"), ("2001:db8::1", "[2001:db8::1]:")])
def test_sockets_of_the_proxy_are_those_of_its_options(tmp_path, ip, host):
    out = render(tmp_path / "out", site() | {"nuna_public_ip": ip})
    service = dict(settings_of(out["nuna-proxy.service"]))
    words = shlex.split(service["ExecStart"])
    options = dict(zip(words[1::2], words[2::2], strict=True))
    wanted = {
        "nuna-proxy.socket": ("public", f"{host}{options['--port']}"),
        "nuna-proxy-api.socket": ("api", f"{options['--api-ip']}:{options['--api-port']}"),
        "nuna-proxy-redirect.socket": ("redirect", f"{host}{options['--redirect-port']}"),
    }
    assert options.get("--ip", "") == ip
    assert service["Type"] == "notify"
    assert service["Requires"].split() == service["Sockets"].split() == list(wanted)
    for name, (called, address) in wanted.items():
        socket_unit = dict(settings_of(out[name]))
        assert (socket_unit["FileDescriptorName"], socket_unit["ListenStream"]) == (called, address)
        assert socket_unit["Service"] == "nuna-proxy.service"
    out = render(tmp_path / "without", site() | {"nuna_redirect_port": 0})
    assert "redirect" not in out["nuna-proxy.service"].read_text()


def test_sockets_of_the_unit_are_those_of_the_configuration(rendered):
    config = tomllib.loads(rendered["spawner.toml"].read_text())
    listen = [value for key, value in settings_of(rendered["nuna-spawner.socket"]) if key == "ListenStream"]
    assert listen == [config["socket"]["path"], config["nodes"]["listen"]]
    service = dict(settings_of(rendered["nuna-spawner.service"]))
    assert (service["Type"], service["Requires"]) == ("notify", "nuna-spawner.socket")
    assert service["RuntimeDirectoryPreserve"] == "yes", "the socket would be removed with its folder"
    assert int(service["WatchdogSec"]) >= 60, "a disk may be slow"


def test_programs_know_the_options_that_units_give_them(rendered):
    for unit, name in (("nuna-proxy.service", "nuna-proxy"), ("nuna-spawner.service", "nuna-spawner")):
        command = shlex.split(dict(settings_of(rendered[unit]))["ExecStart"])
        assert command[0] == f"/opt/nuna/current/bin/{name}"
        words = [command[1]] if name == "nuna-spawner" else []
        told = subprocess.run([program(name), *words, "--help"], capture_output=True, text=True, timeout=60).stdout
        options = [word for word in command[1:] if word.startswith("--")]
        assert len(options) >= 2
        assert [option for option in options if not re.search(rf"(^|\s){re.escape(option)}\b", told)] == []


def test_no_template_names_this_machine(rendered):
    for name, path in rendered.items():
        assert str(REPOSITORY) not in path.read_text(), name
