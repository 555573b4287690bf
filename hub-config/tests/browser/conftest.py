"""The whole of Nuna as `cargo xtask up` starts it, and a browser in front of it."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from playwright.sync_api import sync_playwright

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
SCREENSHOTS = pathlib.Path(os.environ.get("NUNA_SCREENSHOTS", REPOSITORY / "build/screenshots"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Stack:
    """A running `cargo xtask up`: its address, a demo user, and where it keeps its state."""

    def __init__(self, state: pathlib.Path):
        self.state = state
        self.port = free_port()
        programs = pathlib.Path(os.environ.get("NUNA_BIN_DIR", REPOSITORY / "target/debug"))
        environment = dict(os.environ, CARGO_MANIFEST_DIR=str(REPOSITORY / "xtask"))
        environment["CARGO_TARGET_DIR"] = str(programs.parent)
        self.output = open(state / "up.log", "w+")
        self.process = subprocess.Popen(
            [programs / "xtask", "up", "--no-setup", "--state", state / "up", "--port", str(self.port)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        text = self.wait_for_text(r"password: *(\S+)", 90)
        self.url = re.search(r"(http://127\.0\.0\.1:\d+/\S*)", text).group(1)
        self.user = re.search(r"user: *(\S+)", text).group(1)
        self.password = re.search(r"password: *(\S+)", text).group(1)

    def text(self) -> str:
        return pathlib.Path(self.output.name).read_text()

    def wait_for_text(self, pattern: str, limit: float) -> str:
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if re.search(pattern, self.text()):
                return self.text()
            assert self.process.poll() is None, f"`cargo xtask up` ended:\n{self.text()}"
            time.sleep(0.1)
        raise AssertionError(f"`cargo xtask up` did not print {pattern!r} within {limit} s:\n{self.text()}")

    def interrupt(self) -> None:
        """Ctrl-C, then wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def processes(self) -> list[str]:
        """Command lines of all processes that belong to this stack, by the state folder in their environment."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                status = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if f"NUNA_UP_STATE={self.state / 'up'}".encode() in environment and status != "Z":
                found.append(f"{folder.name} {command}")
        return found


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    # Unix socket paths are short, and pytest's folders are not.
    state = pathlib.Path(f"/tmp/nuna-e2e-{os.getpid()}")
    state.mkdir(mode=0o700)
    running = Stack(state)
    yield running
    running.interrupt()
    logs = SCREENSHOTS / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    if (state / "up/logs").exists():
        shutil.copytree(state / "up/logs", logs)
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=os.environ.get("NUNA_CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        )
        yield running
        running.close()


@pytest.fixture(scope="session")
def page(browser):
    context = browser.new_context(viewport={"width": 1500, "height": 950})
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    yield opened
    context.close()


def screenshot(page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
