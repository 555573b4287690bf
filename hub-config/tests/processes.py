"""Processes of a test: they end with it, however it ends, and whoever stayed behind is found.

Every process gets the test's folder in its environment (directly or through its parent), which is how one is
recognised as the test's: the process table has no better mark for grandchildren.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VENV_BIN = REPOSITORY / "build" / "venv" / "bin"
PATIENCE_SECONDS = 90.0

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def program(name: str) -> Path:
    """A built program of Nuna; fails the test if it is missing, since a skipped test proves nothing."""
    folder = Path(os.environ.get("NUNA_BIN_DIR") or REPOSITORY / "target" / "debug")
    path = folder / name
    assert path.exists(), f"{path} is missing: build it with `cargo build -p {name}`, or set NUNA_BIN_DIR"
    return path


_guardian: subprocess.Popen | None = None


def _watch(folder: Path) -> None:
    """Has whoever knows `folder` killed once this process is gone, by whatever end: SIGTERM is nothing to those who are paused,
    and their children never hear of it."""
    global _guardian
    if _guardian is None or _guardian.poll() is not None:
        quiet = subprocess.DEVNULL
        command = [sys.executable, __file__]
        _guardian = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True)
    _guardian.stdin.write(f"{folder}\n".encode())
    _guardian.stdin.flush()


def _guard() -> None:
    """Reads folders until nobody is there to name more."""
    folders = {Path(line.rstrip("\n")) for line in sys.stdin}
    begun = time.monotonic()
    while (left := {pid for folder in folders for pid in living(folder)}) and time.monotonic() - begun < 60:
        # They have been told to end, and get some time for it.
        if time.monotonic() - begun > 10:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        time.sleep(0.2)


def start(command, environment: dict[str, str], log: Path, **more) -> subprocess.Popen:
    """Starts a process that gets SIGTERM when the test process ends, and SIGKILL later; output goes to `log`, in the test's folder."""
    _watch(log.parent)
    with open(log, "ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
            **more,
        )


def end(process: subprocess.Popen, seconds: float = 20.0) -> None:
    """SIGTERM, and after `seconds` SIGKILL for its whole session."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def until(condition, what: str, seconds: float = PATIENCE_SECONDS, evidence=lambda: ""):
    """The first truthy value of `condition()`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}\n{evidence()}")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now: JupyterHub has to be told its ports before it binds them."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def living(folder: Path) -> dict[int, str]:
    """Processes, other than this one, that know `folder`: command lines by process id."""
    mark = str(folder).encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            if mark in command or mark in (entry / "environ").read_bytes():
                # A zombie has neither; it is its parent's business.
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found


def environment_of(pid: int) -> dict[str, str]:
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(variable.split("=", 1) for variable in variables if "=" in variable)


def assert_nothing_lives(folder: Path) -> None:
    """Fails, and cleans up, if a process of the test outlived what started it."""
    deadline = time.monotonic() + 60
    while (left := living(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert not left, f"processes were left behind: {left}"


if __name__ == "__main__":
    _guard()
