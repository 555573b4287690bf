"""A user server that starts in a moment: who it is can be asked through the proxy.

In its home, the file `hold` keeps it from listening, and `stubborn` lets it take three seconds to end.
"""

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

home = Path(os.environ["HOME"])
url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])


def end(*_):
    # Its listener goes on meanwhile, as a server's does that saves its state.
    threading.Timer(3 if (home / "stubborn").exists() else 0, os._exit, (0,)).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, end)
while (home / "hold").exists():
    time.sleep(0.05)
ThreadingHTTPServer((url.hostname, url.port), Handler).serve_forever()
