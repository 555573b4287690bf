"""A wire between two programs that a test can cut: bytes stay where they are, or nobody takes the connection."""

import os
import select
import socket
import threading
from pathlib import Path

PIECE_BYTES = 64 * 1024


class Relay:
    """Carries connections from `listen` to `target`; each is a port of loopback, or the path of a unix socket.

    Silent, it behaves as a network that drops packets: connections that exist stand still and go on later, new ones are
    made and reach nobody. Refusing, as a machine on which nothing listens.
    """

    def __init__(self, listen: int | Path, target: int | Path):
        self._listen = listen
        self._target = target
        self._flows = threading.Event()
        self._flows.set()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.accept()

    def silence(self) -> None:
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def refuse(self) -> None:
        """Nobody listens any more, and what was open is broken off."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            # Wakes the thread that accepts; closing alone would not.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            broken, self._open = self._open, set()
        for one in broken:
            _end(one)

    def accept(self) -> None:
        if self._listener is not None:
            return
        if isinstance(self._listen, Path):
            self._listen.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self._listen))
            os.chmod(self._listen, 0o600)
        else:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._listen))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def close(self) -> None:
        self._flows.set()
        self.refuse()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with self._lock:
            self._open.add(near)
        self._flows.wait()
        # Whoever gave up meanwhile never reached the other side.
        if _has_hung_up(near):
            return self._forget(near)
        far = socket.socket(socket.AF_UNIX if isinstance(self._target, Path) else socket.AF_INET)
        try:
            far.connect(str(self._target) if isinstance(self._target, Path) else ("127.0.0.1", self._target))
        except OSError:
            far.close()
            return self._forget(near)
        with self._lock:
            self._open.add(far)
        back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
        back.start()
        self._pump(near, far)
        back.join()
        self._forget(near, far)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(PIECE_BYTES):
                self._flows.wait()
                sink.sendall(piece)
            self._flows.wait()
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # One side broke off: so does the other.
            _end(source, sink)

    def _forget(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open.difference_update(ends)
        for end in ends:
            end.close()


def _has_hung_up(near: socket.socket) -> bool:
    readable, _, _ = select.select([near], [], [], 0)
    try:
        return bool(readable) and not near.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def _end(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
