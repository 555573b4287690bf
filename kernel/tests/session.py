"""A kernel under test, cell by cell."""

import re
from dataclasses import dataclass, field

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Ran:
    """What became of a cell."""

    reply: dict
    outputs: list = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.reply["status"] == "ok"

    @property
    def result(self):
        found = [content["data"]["text/plain"] for kind, content in self.outputs if kind == "execute_result"]
        return found[0] if found else None

    @property
    def failure(self) -> str:
        """The whole message as a person reads it, without its colours."""
        if self.ok:
            return ""
        return COLOURS.sub("", "\n".join([self.reply["ename"] + ": " + self.reply["evalue"], *self.reply["traceback"]]))

    def printed(self, stream: str) -> str:
        text = "".join(c["text"] for kind, c in self.outputs if kind == "stream" and c["name"] == stream)
        return COLOURS.sub("", text)


class Session:
    """Runs cells and numbers them as the kernel does."""

    def __init__(self, client):
        self.client = client
        self.number = 0

    def run(self, code: str, patience: float = 120) -> Ran:
        ran = Ran({})
        reply = self.client.execute_interactive(
            code, timeout=patience, allow_stdin=False,
            output_hook=lambda m: ran.outputs.append((m["msg_type"], m["content"])),
        )
        ran.reply = reply["content"]
        self.number = ran.reply["execution_count"]
        return ran

    def value(self, code: str) -> str:
        """The result of a cell that has to succeed."""
        ran = self.run(code)
        assert ran.ok, ran.failure
        return ran.result

    def fails(self, code: str) -> str:
        """The message of a cell that has to fail."""
        ran = self.run(code)
        assert not ran.ok, f"this ran: {code}"
        return ran.failure
