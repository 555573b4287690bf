"""The clusters of this user on this machine, as `nuna` writes them down: one private file per cluster.

Only what the user alone can have written is believed: a regular file of theirs that nobody else may read,
in a folder of theirs. Nothing here talks to a cluster; `forward.py` does.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FILE_BYTES_MAX = 64 * 1024
CLUSTERS_MAX = 500


@dataclass(frozen=True)
class Cluster:
    name: str
    dashboard: str
    started: str
    origin: str
    # Kept out of every log line.
    token: str = field(repr=False)


def state_dir(environ=os.environ) -> Path:
    """Where `nuna` keeps its state; the same rule as in kernel/crates/cluster."""
    if environ.get("NUNA_STATE_DIR"):
        return Path(environ["NUNA_STATE_DIR"])
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "nuna"
    return Path.home() / ".local" / "state" / "nuna"


def list_clusters(state: Path | None = None) -> list[Cluster]:
    """Running clusters, oldest first. What cannot be trusted or read is left out."""
    folder = (state or state_dir()) / "clusters"
    if not _is_private(folder, stat.S_ISDIR):
        return []
    paths = sorted(folder.glob("*.json"))[:CLUSTERS_MAX]
    clusters = [cluster for path in paths if (cluster := _read(path)) is not None]
    return sorted(clusters, key=lambda cluster: (cluster.started, cluster.name))


def find_cluster(name: str, state: Path | None = None) -> Cluster | None:
    """The running cluster of that name, if there is one."""
    folder = (state or state_dir()) / "clusters"
    if not NAME.fullmatch(name) or not _is_private(folder, stat.S_ISDIR):
        return None
    return _read(folder / f"{name}.json")


def _is_private(path: Path, is_kind) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return _is_private_status(status, is_kind)


def _is_private_status(status: os.stat_result, is_kind) -> bool:
    return is_kind(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _read(path: Path) -> Cluster | None:
    try:
        # The check is made on what was opened, so that nothing can be swapped in between.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not _is_private_status(os.fstat(descriptor), stat.S_ISREG):
            return None
        text = file.read(FILE_BYTES_MAX + 1)
    if len(text) > FILE_BYTES_MAX:
        return None
    try:
        content = json.loads(text)
        cluster = Cluster(
            name=_text(content, "name"),
            dashboard=_text(content, "dashboard").rstrip("/"),
            token=_text(content, "token"),
            started=_text(content, "started"),
            origin=_text(content, "origin"),
        )
        pid = content.get("pid")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    believed = (
        cluster.name == path.stem
        and NAME.fullmatch(cluster.name)
        and cluster.token
        and "\n" not in cluster.token
        and _is_dashboard(cluster.dashboard)
        and _is_running(pid)
    )
    return cluster if believed else None


def _text(content: dict, key: str) -> str:
    value = content[key]
    if not isinstance(value, str):
        raise TypeError(key)
    return value


def _is_dashboard(url: str) -> bool:
    """`http://HOST:PORT` and nothing more."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme == "http"
            and bool(parts.hostname)
            and parts.port is not None
            and url == f"http://{parts.netloc}"
            and "@" not in parts.netloc
        )
    except ValueError:
        return False


def _is_running(pid: object) -> bool:
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        # The process exists, but is not ours: the number was given to somebody else.
        return False
    return True
