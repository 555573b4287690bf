"""A client that sees every message, for tests of the protocol itself."""

import os
import time
from collections import deque
from contextlib import contextmanager
from queue import Empty

from jupyter_client.manager import start_new_kernel

PATIENCE = float(os.environ.get("NUNA_TEST_PATIENCE", "60"))


class Wire:
    """One kernel with one client. Messages that a wait does not want stay for the next."""

    def __init__(self, manager, client):
        self.manager, self.client = manager, client
        self.held = {"shell": deque(), "control": deque(), "iopub": deque(), "stdin": deque()}

    def channel(self, name):
        return getattr(self.client, f"{name}_channel")

    def send(self, channel, kind, content=None, *, metadata=None, buffers=None, header=None) -> str:
        message = self.client.session.msg(kind, content or {}, metadata=metadata)
        message["header"].update(header or {})
        stream = self.channel(channel).socket
        self.client.session.send(stream, message, buffers=buffers)
        return message["header"]["msg_id"]

    def wait(self, channel, wanted, what: str, patience: float = PATIENCE):
        """The first message that is wanted."""
        held = self.held[channel]
        for message in list(held):
            if wanted(message):
                held.remove(message)
                return message
        end = time.monotonic() + patience
        while True:
            try:
                message = self.channel(channel).get_msg(timeout=max(0.01, end - time.monotonic()))
            except Empty:
                raise AssertionError(f"no {what} on {channel}; held: {[m['msg_type'] for m in held]}") from None
            if wanted(message):
                return message
            held.append(message)

    def reply(self, sent: str, channel: str = "shell", patience: float = PATIENCE):
        return self.wait(channel, lambda m: m["parent_header"].get("msg_id") == sent, "reply", patience)["content"]

    def outputs(self, sent: str) -> list:
        """Everything on iopub up to the request's idle, which belongs to it."""
        found = []
        while True:
            message = self.wait("iopub", lambda m: m["parent_header"].get("msg_id") == sent, "output")
            if message["msg_type"] == "status":
                if message["content"]["execution_state"] == "idle":
                    return found
            else:
                found.append(message)

    def output(self, sent: str, kind: str, patience: float = PATIENCE):
        return self.wait("iopub", lambda m: m["parent_header"].get("msg_id") == sent and m["msg_type"] == kind, kind, patience)

    def execute(self, code: str, *, header=None, **content) -> str:
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {},
                   "allow_stdin": True, "stop_on_error": True} | content
        return self.send("shell", "execute_request", content, header=header)

    def run(self, code: str, **content):
        """Runs a cell; its reply's content, and its outputs."""
        sent = self.execute(code, **content)
        return self.reply(sent), self.outputs(sent)

    def value(self, code: str) -> str:
        reply, outputs = self.run(code)
        assert reply["status"] == "ok", reply
        return [m["content"]["data"]["text/plain"] for m in outputs if m["msg_type"] == "execute_result"][0]

    def begin(self, code: str, **content) -> str:
        """Sends a cell and waits until it has printed something."""
        sent = self.execute(code, **content)
        self.output(sent, "stream")
        return sent

    def interrupt(self) -> None:
        sent = self.send("control", "interrupt_request")
        assert self.reply(sent, "control")["status"] == "ok"


def text(outputs, name="stdout") -> str:
    return "".join(m["content"]["text"] for m in outputs if m["msg_type"] == "stream" and m["content"]["name"] == name)


@contextmanager
def kernel(**options):
    manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60, **options)
    try:
        yield Wire(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
