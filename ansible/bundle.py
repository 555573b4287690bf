#!/usr/bin/env python3
"""Packs what the play installs, from a checkout that `cargo xtask setup` has built.

    build/venv/bin/python ansible/bundle.py nuna-bundle.tar.gz

Owns the layout of the bundle: programs in `bin`, the runtime library and its metadata in `lib`, the compiler that
built them in `toolchain`, the Python packages in `wheels`. cargo links programs to the toolchain's folder by its
path on this machine; here they are made to look beside themselves, so that no folder of the builder's account is
ever searched on the hub. Leaves where things go on a machine to the roles.
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
#: Programs with the standard library only, and those that link the runtime library too.
PROGRAMS = ["nuna-spawner", "nuna-proxy", "nuna-singleuser", "nuna-submit", "nuna", "nuna-kernel", "nuna-evaluator"]
#: Root runs this one for the spawner service: it looks in a folder that only root writes, on no shared file system.
HELPER, HELPER_LIBRARIES = "nuna-submit", "/usr/libexec/nuna"
LIMIT_SECONDS = 600


def run(*words, **settings):
    """The command's standard output; its failure ends the program with its own words."""
    words = [str(word) for word in words]
    settings.setdefault("stdin", subprocess.DEVNULL)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_SECONDS, **settings)
    except FileNotFoundError:
        sys.exit(f"bundle: {words[0]} is not there; is the environment of `cargo xtask setup` active?")
    if done.returncode != 0:
        sys.exit(f"bundle: {' '.join(words[:4])} failed ({done.returncode}):\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def tool(name):
    """From the Python environment this runs in, else by PATH."""
    beside = Path(sys.executable).with_name(name)
    return beside if beside.exists() else name


def copy(source, target, mode=0o644):
    if not source.is_file():
        sys.exit(f"bundle: {source} is not there; build it with `cargo xtask setup`")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def programs(built, tree, names):
    for name in names:
        target = tree / "bin" / name
        copy(built / name, target, 0o755)
        path = HELPER_LIBRARIES if name == HELPER else "$ORIGIN/../lib"
        run(tool("patchelf"), "--set-rpath", path, target)


def standard_library(built, tree, sysroot):
    """The very library that the programs were linked with, by its name with the hash."""
    needed = run(tool("patchelf"), "--print-needed", built / PROGRAMS[0]).split()
    names = [name for name in needed if name.startswith("libstd-")]
    if not names:
        sys.exit(f"bundle: {PROGRAMS[0]} links no shared standard library; was it built with .cargo/config.toml?")
    target = run(sysroot / "bin/rustc", "-vV").split("host: ")[1].split()[0]
    copy(sysroot / "lib/rustlib" / target / "lib" / names[0], tree / "lib" / names[0])
    return target


def runtime(built, tree, sysroot):
    """`libnuna.so`, and the metadata that the compiler reads when it compiles a cell: the compiler says which."""
    copy(built / "libnuna.so", tree / "lib/libnuna.so")
    run(tool("patchelf"), "--set-rpath", "$ORIGIN", tree / "lib/libnuna.so")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "cell.rs"
        source.write_text("pub fn cell() -> u32 { nuna::session::cell() }\n")
        run(
            sysroot / "bin/rustc", "-Zbinary-dep-depinfo", "--edition=2024", "--crate-type=dylib", "-Cprefer-dynamic",
            "--emit=dep-info,metadata", f"--extern=nuna={built}/libnuna.so", f"-Ldependency={built}/deps",
            "--out-dir", folder, source,
            # For the flag that lists the files; nothing of this run is kept.
            env={**os.environ, "RUSTC_BOOTSTRAP": "1"},
        )  # fmt: skip
        words = (Path(folder) / "cell.d").read_text().replace("\\ ", "\0").split()
    files = {Path(word.replace("\0", " ").rstrip(":")) for word in words}
    found = [path for path in files if path.resolve().parent == (built / "deps").resolve()]
    if not found:
        sys.exit(f"bundle: the compiler named no metadata below {built}/deps")
    for path in found:
        copy(path, tree / "lib/deps" / path.name)
    # What completion knows of the libraries; made for the very build whose identity the library carries.
    for name in ("std.index", "nuna.index"):
        copy(built / name, tree / "lib" / name)
    # With which features they were built: by it, crates that people add share these with `nuna`.
    crates = run(built / "nuna-kernel", "--runtime-crates", env={**os.environ, "NUNA_RUNTIME_DIR": str(built)})
    (tree / "lib/deps/crates.json").write_text(crates)


def toolchain(tree, sysroot, target):
    """The compiler without its documentation and the parts that cells never use."""
    # rustdoc reads the libraries that people add, for completion; cargo fetches and compiles them.
    for name in ("rustc", "rustdoc", "cargo"):
        copy(sysroot / "bin" / name, tree / "toolchain/bin" / name, 0o755)
    for path in sorted((sysroot / "lib").glob("*.so*")):
        copy(path, tree / "toolchain/lib" / path.name)
    libraries = Path("lib/rustlib") / target
    for path in sorted((sysroot / libraries).rglob("*")):
        if path.is_file():
            copy(path, tree / "toolchain" / libraries / path.relative_to(sysroot / libraries), path.stat().st_mode & 0o755)


def wheels(tree):
    (tree / "wheels").mkdir()
    for folder in ("hub-config", "labextension"):
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        run(*pip, "--no-build-isolation", "--wheel-dir", tree / "wheels", REPOSITORY / folder)


def manifest(tree):
    """Checksums by name: the play compares them, and so can you."""
    sums = {}
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            sums[str(path.relative_to(tree))] = hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
    (tree / "manifest.json").write_text(json.dumps({"id": digest[:16], "sha256": sums}, indent=1) + "\n")
    return digest[:16]


def owned_by_root(entry):
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    return entry


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bundle", type=Path, help="the .tar.gz to write")
    default = os.environ.get("NUNA_BIN_DIR", REPOSITORY / "target/debug")
    parser.add_argument("--built", type=Path, default=Path(default), help="folder of the built programs")
    parser.add_argument("--only-hub", action="store_true", help="leave out kernel, compiler and wheels: an update of the services")
    options = parser.parse_args()
    built = options.built.resolve()
    sysroot = Path(run("rustc", "--print", "sysroot").strip())
    with tempfile.TemporaryDirectory(prefix="nuna-bundle-") as folder:
        tree = Path(folder) / "nuna"
        tree.mkdir()
        programs(built, tree, PROGRAMS[:4] if options.only_hub else PROGRAMS)
        target = standard_library(built, tree, sysroot)
        if not options.only_hub:
            runtime(built, tree, sysroot)
            toolchain(tree, sysroot, target)
            wheels(tree)
        number = manifest(tree)
        # The same files give the same bytes: nothing in the archive tells when or by whom it was packed.
        with open(options.bundle, "wb") as file, gzip.GzipFile("", "wb", 4, file, mtime=0) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
                archive.add(tree, arcname=".", filter=owned_by_root)
    print(f"{options.bundle}: {number}, {options.bundle.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
