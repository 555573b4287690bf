"""Programs that people drive kernels with: jupyter console, nbclient, nbconvert and papermill."""

import os
import subprocess
import sys

import nbformat
import pexpect
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

PATIENCE = 120


def notebook(*cells):
    kernelspec = {"name": "nuna", "display_name": "Nuna (Rust)", "language": "rust"}
    made = nbformat.v4.new_notebook(metadata={"kernelspec": kernelspec, "language_info": {"name": "rust", "file_extension": ".rs"}})
    for cell in cells:
        text, tags = cell if isinstance(cell, tuple) else (cell, [])
        made.cells.append(nbformat.v4.new_code_cell(text, metadata={"tags": tags}))
    return made


def written(tmp_path, *cells):
    path = tmp_path / "notebook.ipynb"
    nbformat.write(notebook(*cells), path)
    return path


def test_nbclient_runs_a_notebook_and_keeps_its_outputs():
    made = notebook('println!("hello");\neprintln!("trouble");\nlet x = 20;', "x * 2 + 2",
                    'nuna::display::publish("text/html", "<b>bold</b>");\nnuna::display::clear_output_when_next_is_shown();\nprintln!("instead");')
    NotebookClient(made, timeout=PATIENCE).execute()
    first, second, third = (cell.outputs for cell in made.cells)
    assert [(o.name, o.text) for o in first] == [("stdout", "hello\n"), ("stderr", "trouble\n")]
    assert second[0].data["text/plain"] == "42" and second[0].execution_count == 2
    assert [o.get("text") for o in third] == ["instead\n"]
    assert made.metadata.language_info.name == "rust" and made.metadata.language_info.file_extension == ".rs"


def test_nbclient_stops_at_an_error_and_shows_it():
    made = notebook('let n: i32 = "x".parse()?;', "1 + 1")
    with pytest.raises(CellExecutionError, match="invalid digit"):
        NotebookClient(made, timeout=PATIENCE).execute()
    assert made.cells[0].outputs[0].ename == "Error" and made.cells[1].outputs == []
    NotebookClient(made, timeout=PATIENCE, allow_errors=True).execute()
    assert made.cells[1].outputs[0].data["text/plain"] == "2"


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE, **options)


def test_nbconvert_runs_a_notebook_into_a_page(tmp_path):
    path = written(tmp_path, "let total: i32 = (1..=10).sum();\ntotal")
    done = run("nbconvert", "--execute", "--to", "html", path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "notebook.html").read_text()
    assert "55" in page and "highlight" in page
    done = run("nbconvert", "--to", "script", path)
    assert done.returncode == 0 and "(1..=10).sum()" in (tmp_path / "notebook.rs").read_text()


def test_papermill_runs_a_notebook_with_its_own_progress(tmp_path):
    path = written(tmp_path, "let n = 6;", 'println!("{}", n * 7);')
    done = run("papermill", path, tmp_path / "out.ipynb", "--log-output")
    assert done.returncode == 0, done.stderr
    out = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert out.cells[1].outputs[0].text == "42\n" and out.cells[1].metadata.papermill.status == "completed"


def test_papermill_reports_a_failing_cell(tmp_path):
    done = run("papermill", written(tmp_path, "1", "panic!(\"on purpose\");", "3"), tmp_path / "out.ipynb")
    assert done.returncode != 0 and "on purpose" in done.stderr
    out = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert any("error" == output.output_type for cell in out.cells for output in cell.get("outputs", []))


def test_jupyter_console_runs_cells_and_asks(tmp_path):
    environment = os.environ | {"TERM": "dumb", "JUPYTER_CONFIG_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    console = pexpect.spawn(sys.executable, ["-m", "jupyter_console", "--kernel=nuna", "--simple-prompt"],
                            env=environment, timeout=PATIENCE, encoding="utf-8", echo=False)
    try:
        console.expect_exact("Nuna")
        console.expect_exact("In [1]:")
        console.sendline("let x = 20;")
        console.expect_exact("In [2]:")
        console.sendline("x * 2 + 2")
        console.expect_exact("42")
        console.expect_exact("In [3]:")
        console.sendline('nuna::input("name? ")?')
        console.expect_exact("name? ")
        console.sendline("Ada")
        console.expect_exact('"Ada"')
        console.expect_exact("In [4]:")
        console.sendline('panic!("on purpose");')
        console.expect_exact("on purpose")
        console.expect_exact("In [5]:")
        console.sendeof()
        console.expect_exact("exit")
        console.sendline("y")
        console.expect(pexpect.EOF)
    finally:
        console.close(force=True)
