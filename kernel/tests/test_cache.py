"""Cells that were compiled before are not compiled again, and what is not this person's is not run."""

import os
import pathlib
import shutil
import subprocess
import time

import pytest
from jupyter_client.manager import start_new_kernel
from session import Session

NOTEBOOK = [
    "#[derive(Clone, Debug, PartialEq)]\npub struct P { x: f64 }",
    "impl P { pub fn twice(&self) -> f64 { self.x * 2.0 } }",
    "let p = P { x: 1.5 };\nlet a = nuna::Array::from_slice(&[4], &[1.0, 2.0, 3.0, 4.0])?;",
    "let moved = vec![p.clone(), p];\nmoved[1].twice()",
    "use std::collections::BTreeMap;\nlet mut m = BTreeMap::new();\nm.insert(1, a.shape().to_vec());",
    "static N: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(5);",
    "N.fetch_add(1, std::sync::atomic::Ordering::SeqCst)",
    "N.fetch_add(1, std::sync::atomic::Ordering::SeqCst)",
    "let f: fn(f64) -> f64 = |x| x + 1.0;\nf(moved[0].x)",
    "let broken: i32 = \"text\";",
    "None::<u8>.expect(\"nothing there\")",
    "m[&1][0] + N.load(std::sync::atomic::Ordering::SeqCst) as u64",
]


class Machine:
    """A compiler that counts how often it is started, and a folder for what it made."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.cache = folder / "cache"
        self.count = folder / "count"
        sysroot = subprocess.run(
            ["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
        # It has the real one's libraries beside it, so that it is taken for one.
        (folder / "bin").mkdir()
        (folder / "lib").symlink_to(pathlib.Path(sysroot) / "lib")
        compiler = folder / "bin/rustc"
        # The question which crates there are is no compilation.
        count = f'case "$*" in *-Zbinary-dep-depinfo*) ;; *) echo once >>"{self.count}" ;; esac'
        compiler.write_text(f'#!/bin/sh\n{count}\nexec "{sysroot}/bin/rustc" "$@"\n')
        compiler.chmod(0o755)
        self.environment = {**os.environ, "NUNA_RUSTC": str(compiler), "NUNA_CELL_CACHE": str(self.cache)}

    def compilations(self) -> int:
        return self.count.read_text().count("once") if self.count.exists() else 0

    def entries(self) -> list:
        return [path for path in self.cache.glob("*/*") if not path.name.startswith("unfinished-")]

    def run(self, cells, settled=False, **settings) -> tuple:
        """What a new kernel answers to `cells`, and how often it compiled.

        What was made is stored beside the next cell; `settled` waits for that after each.
        """
        before = self.compilations()
        manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60, env={**self.environment, **settings})
        session = Session(client)
        try:
            answers = []
            for cell in cells:
                ran = session.run(cell)
                answers.append((ran.result, ran.failure, ran.printed("stdout"), ran.printed("stderr")))
                if settled:
                    self.settle()
            self.settle()
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
        return answers, self.compilations() - before

    def settle(self):
        """Waits until nothing is being stored."""
        count, since = -1, time.monotonic()
        while time.monotonic() - since < 0.5:
            now = len(self.entries())
            if now != count or list(self.cache.glob("*/unfinished-*")):
                count, since = now, time.monotonic()
            time.sleep(0.02)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_a_second_kernel_runs_a_notebook_without_the_compiler(machine):
    first, compiled = machine.run(NOTEBOOK)
    assert compiled >= len(NOTEBOOK)
    assert first[3][0] == "3.0" and first[7][0] == "6" and first[11][0] == "11"
    assert "E0308" in first[9][1] and "In [11]:1" in first[10][1]
    second, compiled = machine.run(NOTEBOOK)
    assert (second, compiled) == (first, 0)


def test_a_broken_entry_is_compiled_again(machine):
    first, compiled_first = machine.run(NOTEBOOK[:4])
    for index, path in enumerate(machine.entries()):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if index % 2 else bytes([whole[0] ^ 1]) + whole[1:])
    second, compiled = machine.run(NOTEBOOK[:4])
    assert second == first and compiled == compiled_first
    assert machine.run(NOTEBOOK[:4]) == (first, 0)


def test_a_cell_that_was_changed_is_compiled_and_so_is_what_builds_on_it(machine):
    machine.run(["fn rate() -> f64 { 1.0 }", "rate()", "1 + 1"])
    answers, compiled = machine.run(["fn rate() -> f64 { 2.0 }", "rate()", "1 + 1"])
    assert [answer[0] for answer in answers] == [None, "2.0", "2"]
    assert compiled == 2


def test_what_a_cell_reads_while_it_is_compiled_is_read_each_time(machine):
    file = machine.folder / "text"
    cells = [f'include_str!("{file}")', 'option_env!("NUNA_TEST_WORD")', "use std::env as e;\ne!(\"NUNA_TEST_OTHER\")"]
    for word in ["one", "two"]:
        file.write_text(word)
        answers, compiled = machine.run(cells, NUNA_TEST_WORD=word, NUNA_TEST_OTHER=word)
        assert [answer[0] for answer in answers] == [f'"{word}"', f'Some("{word}")', f'"{word}"']
        assert compiled >= 3
    session_changes = ['std::fs::write("%s", "three")?;' % file, cells[0], 'std::fs::write("%s", "four")?;' % file, cells[0]]
    answers, _ = machine.run(session_changes)
    assert [answers[1][0], answers[3][0]] == ['"three"', '"four"']


def test_a_cell_that_runs_again_begins_its_statics_anew(machine):
    count = "{\n    static N: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);\n    N.fetch_add(1, std::sync::atomic::Ordering::SeqCst)\n}"
    item = "static M: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);"
    add = "M.fetch_add(1, std::sync::atomic::Ordering::SeqCst)"
    notebook = [count, count, item, add, add, item, add]
    answers, _ = machine.run(notebook)
    assert [answer[0] for answer in answers] == ["0", "0", None, "0", "1", None, "0"]
    assert machine.run(notebook) == (answers, 0)


def test_the_same_cell_is_compiled_once_in_a_session(machine):
    answers, compiled = machine.run(["let mut n = 1;", "n += 1;\nn", "n += 1;\nn", "n += 1;\nn"], settled=True)
    assert [answer[0] for answer in answers] == [None, "2", "3", "4"]
    once = machine.run(["let mut k = 1;", "k += 1;\nk"])[1]
    assert compiled == once


def test_a_variable_of_another_type_makes_it_another_cell(machine):
    answers, _ = machine.run(["let n = 7;", "n / 2", "let n = 7.0;", "n / 2.0", "n", "let n = 9;", "n / 2", "n"])
    assert [answer[0] for answer in answers] == [None, "3", None, "3.5", "7.0", None, "4", "9"]


def test_a_folder_that_others_may_write_is_not_used(machine):
    machine.cache.mkdir(mode=0o700)
    machine.cache.chmod(0o777)
    answers, compiled = machine.run(["1 + 1"])
    assert answers[0][0] == "2" and compiled > 0 and machine.entries() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give files away")
def test_anothers_folder_and_anothers_entry_are_not_used(machine):
    _, compiled = machine.run(["1 + 1"])
    for path in machine.entries():
        os.chown(path, 12345, 12345)
    assert machine.run(["1 + 1"])[1] == compiled
    shutil.rmtree(machine.cache)
    machine.cache.mkdir(mode=0o700)
    os.chown(machine.cache, 12345, 12345)
    assert machine.run(["1 + 1"])[1] == compiled
    assert machine.entries() == []


def test_nothing_is_kept_where_that_is_asked_for_or_cannot_be(machine):
    (machine.folder / "file").write_text("")
    for setting in ["0", str(machine.folder / "file/below")]:
        answers, compiled = machine.run(["1 + 1"], NUNA_CELL_CACHE=setting)
        assert answers[0][0] == "2" and compiled > 0
    assert machine.entries() == []
