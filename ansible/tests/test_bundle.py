"""What the bundle holds runs where it is unpacked, and looks nowhere else."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile

import bundle
import pytest
from conftest import ANSIBLE, BIN, program

EMPTY = {"PATH": "/usr/bin:/bin"}


def pack(target):
    built = program("nuna-submit").parent
    command = [sys.executable, ANSIBLE / "bundle.py", target, "--built", built, "--only-hub"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("bundle") / "nuna.tar.gz")


@pytest.fixture(scope="module")
def unpacked(packed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="tar")
    return folder


def run_path(path):
    return subprocess.run([BIN / "patchelf", "--print-rpath", path], capture_output=True, text=True, check=True).stdout.strip()


def test_programs_run_from_another_folder_with_an_empty_environment(unpacked):
    for name in ("nuna-spawner", "nuna-proxy", "nuna-singleuser"):
        done = subprocess.run([unpacked / "bin" / name, "--version"], env=EMPTY, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (name, done.stderr)
        libraries = subprocess.run(["ldd", unpacked / "bin" / name], env=EMPTY, capture_output=True, text=True, check=True)
        own = [line for line in libraries.stdout.splitlines() if "libstd" in line]
        assert own and str(unpacked) in own[0], (name, own)


def test_no_program_looks_into_the_builders_folders(unpacked):
    paths = {path.name: run_path(path) for path in (unpacked / "bin").iterdir()}
    assert paths.pop("nuna-submit") == "/usr/libexec/nuna", "root runs it: it must look where only root writes"
    assert set(paths.values()) == {"$ORIGIN/../lib"}


def test_archive_is_roots_and_its_checksums_hold(packed, unpacked):
    with tarfile.open(packed) as archive:
        for entry in archive:
            assert (entry.uid, entry.gid) == (0, 0), entry.name
            assert entry.isdir() or entry.isfile(), f"{entry.name} is neither file nor folder"
            assert entry.mode & 0o022 == 0 or entry.isdir(), entry.name
    manifest = json.loads((unpacked / "manifest.json").read_text())
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((unpacked / name).read_bytes()).hexdigest() == digest, name


def test_same_files_give_the_same_bundle(packed, tmp_path):
    assert pack(tmp_path / "again.tar.gz").read_bytes() == packed.read_bytes()


def test_what_is_not_built_is_named(tmp_path):
    command = [sys.executable, ANSIBLE / "bundle.py", tmp_path / "x.tar.gz", "--built", tmp_path, "--only-hub"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "nuna-spawner is not there; build it with `cargo xtask setup`" in done.stderr


def test_cells_compile_against_what_the_bundle_lays_out(tmp_path):
    """The metadata that the compiler named is enough: no cargo folder, no other crate is at hand."""
    built = program("nuna-kernel").parent.resolve()
    sysroot = bundle.Path(bundle.run("rustc", "--print", "sysroot").strip())
    tree = tmp_path / "tree"
    bundle.runtime(built, tree, sysroot)
    source = tmp_path / "cell.rs"
    source.write_text('use nuna::prelude::*;\npub fn cell() -> bool { open_zarr("x").is_ok() && grid([1], [2]).len() == 1 }\n')
    command = [
        sysroot / "bin/rustc", "--edition=2024", "--crate-type=dylib", "-Cprefer-dynamic",
        f"--extern=nuna={tree}/lib/libnuna.so", f"-Ldependency={tree}/lib/deps", "--out-dir", tmp_path, source,
    ]  # fmt: skip
    done = subprocess.run(command, env=EMPTY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "libcell.so").exists()
    assert os.listdir(tree) == ["lib"]
