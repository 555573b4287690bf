"""The whole of Nuna as `cargo xtask up` starts it, and a browser in front of it.

Screenshots and logs are kept in build/screenshots (NUNA_SCREENSHOTS), whatever the tests say.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

import pytest
from playwright.sync_api import sync_playwright

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
SCREENSHOTS = pathlib.Path(os.environ.get("NUNA_SCREENSHOTS", REPOSITORY / "build/screenshots"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
PROGRAMS = pathlib.Path(os.environ.get("NUNA_BIN_DIR", TARGET / "debug"))

# Longer than the queue allows, so that PBS itself refuses it.
PROFILES = """
[profiles.too-long]
title = "Two days"
description = "Asks for more time than the queue allows."
queue = "interactive"
select = "1:ncpus=1:mem=1gb"
walltime = "48:00:00"
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Stack:
    """A running `cargo xtask up`: its address, a demo user, and where it keeps its state."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.state = folder / "up"
        self.port = free_port()
        xtask = PROGRAMS / "xtask"
        assert xtask.exists(), f"{xtask} is missing: run `cargo xtask setup`, or set NUNA_BIN_DIR"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NUNA_UP")}
        environment["CARGO_MANIFEST_DIR"] = str(REPOSITORY / "xtask")
        environment["CARGO_TARGET_DIR"] = str(PROGRAMS.parent)
        self.log = folder / "up.log"
        profiles = folder / "profiles.toml"
        profiles.write_text(PROFILES)
        with open(self.log, "w") as output:
            self.process = subprocess.Popen(
                [xtask, "up", "--no-setup", "--state", self.state, "--port", str(self.port), "--profiles", profiles],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        text = self.wait_for(r"Ctrl-C stops all of it", 120)
        self.url = re.search(r"Nuna is up: *(\S+)", text).group(1)
        self.user = re.search(r"user: *(\S+)", text).group(1)
        self.password = re.search(r"password: *(\S+)", text).group(1)

    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if re.search(pattern, self.text()):
                return self.text()
            assert self.process.poll() is None, f"`cargo xtask up` ended:\n{self.text()}"
            time.sleep(0.1)
        raise AssertionError(f"`cargo xtask up` did not print {pattern!r} within {seconds} s:\n{self.text()}")

    def wait_until_healthy(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}hub/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            assert time.monotonic() < deadline, f"the hub does not answer:\n{self.text()}"
            time.sleep(0.2)

    def interrupt(self) -> int:
        """Ctrl-C, then wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def processes(self) -> list[str]:
        """Command lines of all processes that belong to this stack: its folder is in their arguments or environment."""
        mark = str(self.state).encode()
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes()
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if (mark in environment or mark in command) and state != "Z":
                found.append(f"{folder.name} {command.replace(bytes(1), b' ').decode(errors='replace')}")
        return found

    def password_of(self, user: str) -> str:
        import json

        return json.loads((self.state / "directory/users.passwords.json").read_text())[user]


@pytest.fixture(scope="session")
def stack():
    # A unix socket's path is short, and pytest's folders are not.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nuna-e2e-"))
    running = Stack(folder)
    yield running
    try:
        running.interrupt()
    finally:
        logs = SCREENSHOTS / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        if (running.state / "logs").exists():
            shutil.copytree(running.state / "logs", logs)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=os.environ.get("NUNA_CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield running
        running.close()


@pytest.fixture(scope="session")
def page(chromium):
    context = chromium.new_context(viewport={"width": 1600, "height": 950})
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    yield opened
    screenshot(opened, "99-last-seen")
    context.close()


def screenshot(page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
