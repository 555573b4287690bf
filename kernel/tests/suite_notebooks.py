"""Reads the notebooks of `suite/` and the table of differences in `docs/reference/evaluators.md`."""

import pathlib
import re
from dataclasses import dataclass, field

FOLDER = pathlib.Path(__file__).parent / "suite"
TABLE = pathlib.Path(__file__).resolve().parents[2] / "docs/reference/evaluators.md"
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {"rust", "rust-repeated", "result", "result-has", "stdout", "stdout-ends", "stderr", "shown", "failure"}


@dataclass
class Cell:
    name: str
    code: str = ""
    expected: dict = field(default_factory=dict)

    def faults(self, ran) -> list[str]:
        """What is otherwise than the notebook says; `ran` is a session.Ran."""
        found = []

        def fault(what, wanted):
            found.append(f"{what}: wanted {wanted!r}")

        def lines(block):
            return [line for line in self.expected[block].splitlines() if line.strip()]

        if "failure" in self.expected:
            if ran.ok:
                fault("it did not fail", self.expected["failure"])
            for line in lines("failure"):
                if line not in ran.failure:
                    fault("the failure", line)
        elif not ran.ok:
            fault("it failed", "success")
        if "result-has" in self.expected:
            for line in lines("result-has"):
                if line not in (ran.result or ""):
                    fault("the result", line)
        elif not any(kind.startswith("shown") for kind in self.expected):
            wanted = self.expected.get("result")
            if (ran.result or "").strip("\n") != (wanted or "").strip("\n"):
                fault("the result", wanted)
        if "stdout-ends" in self.expected:
            if not ran.printed("stdout").endswith(self.expected["stdout-ends"]):
                fault("the end of standard output", self.expected["stdout-ends"])
        elif ran.printed("stdout").rstrip("\n") != self.expected.get("stdout", "").rstrip("\n"):
            fault("standard output", self.expected.get("stdout", ""))
        if "stderr" in self.expected:
            printed = ran.printed("stderr")
            if not lines("stderr") and printed:
                fault("standard error", "")
            for line in lines("stderr"):
                if line not in printed:
                    fault("standard error", line)
        for kind in self.expected:
            if kind.startswith("shown "):
                media, wanted = kind.split(" ", 1)[1], self.expected[kind].strip("\n")
                data = [c["data"].get(media) for _, c in ran.outputs if "data" in c]
                if wanted not in data:
                    fault(f"data of {media}", wanted)
        return found


def summary(ran) -> str:
    """All that came of a cell, as one text; differences are looked for in it."""
    parts = ["status: " + ran.reply.get("status", "none")]
    if ran.result is not None:
        parts.append("result: " + ran.result)
    for stream in ["stdout", "stderr"]:
        if ran.printed(stream):
            parts.append(f"{stream}: {ran.printed(stream)[-600:]}")
    if ran.failure:
        parts.append("failure: " + ran.failure)
    return "\n".join(parts)


def notebooks() -> dict[str, list[Cell]]:
    return {path.stem: read(path) for path in sorted(FOLDER.glob("*.md")) if path.stem != "README"}


def read(path: pathlib.Path) -> list[Cell]:
    cells = []
    for part in re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name, body = part.split("\n", 1)
        cell = Cell(name.strip())
        for kind, text in FENCE.findall(body):
            assert kind.split(" ")[0] in KINDS, f"{path.name}, {cell.name}: there is no block {kind!r}"
            if kind == "rust":
                cell.code = text
            elif kind == "rust-repeated":
                cell.code = "".join(
                    "".join(line.replace("@", str(n)) for n in range(300)) if "@" in line else line
                    for line in text.splitlines(keepends=True)
                )
            else:
                cell.expected[kind.strip()] = text
        cells.append(cell)
    names = [cell.name for cell in cells]
    assert len(names) == len(set(names)), f"{path.name} names two cells the same"
    return cells


@dataclass
class Difference:
    evaluator: str
    words: list[str]
    reason: str


def differences() -> dict[tuple[str, str], Difference]:
    """By notebook and cell: who differs, words of what it gives instead, and why."""
    found = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        columns = [column.strip().replace("\\|", "|") for column in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        if len(columns) != 5 or columns[2] not in ("direct", "evcxr"):
            continue
        notebook, cell, evaluator, gives, reason = columns
        words = [word.strip("`") for word in re.findall(r"`+[^`](?:.*?[^`])?`+", gives)]
        assert words and reason, f"this row says too little: {line}"
        assert (notebook, cell) not in found, f"listed twice: {notebook}, {cell}"
        found[notebook, cell] = Difference(evaluator, words, reason)
    return found
