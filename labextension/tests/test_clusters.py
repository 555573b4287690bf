"""Which cluster files are believed."""

import json
import os

import pytest

from nuna_labextension.clusters import find_cluster, list_clusters, state_dir


def write(state, name="local-1", mode=0o600, stem=None, **changes):
    folder = state / "clusters"
    folder.mkdir(mode=0o700, exist_ok=True)
    content = {
        "name": name,
        "scheduler": "127.0.0.1:1",
        "dashboard": "http://127.0.0.1:4321",
        "token": "s3cret",
        "pid": os.getpid(),
        "started": "2026-11-21T03:00:00Z",
        "origin": "kernel-1",
        "certificates": "",
    }
    content.update(changes)
    path = folder / f"{stem or name}.json"
    path.write_text(json.dumps(content))
    path.chmod(mode)
    return path


def names(state):
    return [cluster.name for cluster in list_clusters(state)]


def test_private_files_of_running_clusters_are_listed_oldest_first(tmp_path):
    write(tmp_path, "b", started="2026-11-21T01:00:00Z")
    write(tmp_path, "a", started="2026-11-21T02:00:00Z")
    assert names(tmp_path) == ["b", "a"]
    assert find_cluster("a", tmp_path).dashboard == "http://127.0.0.1:4321"
    assert "s3cret" not in repr(find_cluster("a", tmp_path))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_may_read_is_not_believed(tmp_path, mode):
    write(tmp_path, mode=mode)
    assert names(tmp_path) == []
    assert find_cluster("local-1", tmp_path) is None


def test_a_folder_that_others_may_enter_is_not_believed(tmp_path):
    write(tmp_path)
    (tmp_path / "clusters").chmod(0o755)
    assert names(tmp_path) == []


def test_links_are_not_followed(tmp_path):
    target = write(tmp_path, "real")
    (tmp_path / "clusters" / "link.json").symlink_to(target)
    assert names(tmp_path) == ["real"]
    assert find_cluster("link", tmp_path) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"dashboard": "https://127.0.0.1:4321"},
        {"dashboard": "file:///etc/passwd"},
        {"dashboard": "http://127.0.0.1:4321/path"},
        {"dashboard": "http://user@127.0.0.1:4321"},
        {"dashboard": "http://127.0.0.1"},
        {"token": ""},
        {"token": "a\nX-Injected: 1"},
        {"pid": 0},
        {"pid": "1"},
        {"pid": 2**40},
        {"name": "another"},
        {"origin": None},
    ],
)
def test_what_a_cluster_would_not_write_is_not_believed(tmp_path, changes):
    write(tmp_path, stem="local-1", **changes)
    assert names(tmp_path) == []


def test_a_cluster_whose_process_is_gone_is_left_out(tmp_path):
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
    write(tmp_path, pid=process)
    assert names(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"name": "local-1"}', "\0" * 100_000])
def test_a_damaged_file_hides_no_other(tmp_path, text):
    write(tmp_path, "good")
    path = write(tmp_path, "bad")
    path.write_text(text)
    assert names(tmp_path) == ["good"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 65, "a\n"])
def test_a_name_that_is_no_name_finds_nothing(tmp_path, name):
    write(tmp_path)
    assert find_cluster(name, tmp_path) is None


def test_nothing_there_is_an_empty_list(tmp_path):
    assert names(tmp_path / "missing") == []


def test_the_state_folder_is_where_nuna_puts_it(tmp_path):
    assert str(state_dir({"NUNA_STATE_DIR": "/s"})) == "/s"
    assert str(state_dir({"XDG_STATE_HOME": "/x"})) == "/x/nuna"
    assert state_dir({}).parts[-3:] == (".local", "state", "nuna")
