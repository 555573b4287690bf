"""One stack for all faults, and their table at the end of the run."""

import os
import tempfile
from pathlib import Path

import processes
import pytest
from fault_stack import FaultStack
from scene import ROWS, table


@pytest.fixture(scope="session")
def stack():
    # A unix socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="nuna-") as name:
        stack = FaultStack(Path(name))
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
            processes.assert_nothing_lives(stack.folder)


def pytest_terminal_summary(terminalreporter):
    if ROWS:
        terminalreporter.write_line(table())
        if path := os.environ.get("NUNA_FAULT_TABLE"):
            Path(path).write_text(table() + "\n")
