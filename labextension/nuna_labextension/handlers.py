"""The routes of the server part: where dashboards are, which clusters run, and the way to them.

A request is let through if the Jupyter server knows its user, and its Origin is the server's own. It names a
cluster, never an address; what may be fetched is decided by `clusters.py`, and fetched by GET only.
"""

from __future__ import annotations

import asyncio
import json
import os
from urllib.parse import urlsplit

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_escape, url_path_join
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClosedError, WebSocketHandler, websocket_connect

from .clusters import find_cluster, list_clusters

RESOURCE = "nuna"
CONNECT_TIMEOUT = 5.0
REQUEST_TIMEOUT = 20.0
STREAM_MESSAGE_BYTES_MAX = 64 * 1024 * 1024
REQUEST_MESSAGE_BYTES_MAX = 4096
# Everything a dashboard serves to a view; its tokens and its identity are not for pages.
PATHS = r"(|page\.js|page\.css|metrics|api/cluster|api/tasks|api/failures)"
CLUSTER = r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})"
PASSED_ON = ("Content-Type", "Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control")


class ConfigHandler(APIHandler):
    """Which way leads to dashboards: the hub's service, or this server."""

    auth_resource = RESOURCE

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    def get(self):
        self.finish(json.dumps(configuration(os.environ)))


def configuration(environ) -> dict:
    """Behind a hub that has the service, its path; else this server's own way. In a batch job, when that job ends."""
    url = environ.get("NUNA_SERVICE_URL", "")
    end = environ.get("NUNA_WALLTIME_END", "")
    # Seconds since 1970, by the clock of the node.
    ends = {"walltime_end": int(end)} if end.isascii() and end.isdigit() and len(end) <= 12 else {}
    if not url:
        return {"mode": "server", **ends}
    # The address is the service's as seen from compute nodes; browsers need its path on their own host.
    path = urlsplit(url).path.rstrip("/") or "/services/nuna"
    user = environ.get("JUPYTERHUB_USER", "")
    return {"mode": "hub", "service": f"{path}/", "user": user, **ends}


class ClustersHandler(APIHandler):
    """The clusters of this user on this machine."""

    auth_resource = RESOURCE

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self):
        clusters = await asyncio.get_running_loop().run_in_executor(None, list_clusters)
        self.finish(
            json.dumps(
                [
                    {
                        "name": cluster.name,
                        "started": cluster.started,
                        "origin": cluster.origin,
                        "url": url_path_join(self.base_url, "nuna/clusters", url_escape(cluster.name)) + "/",
                    }
                    for cluster in clusters
                ]
            )
        )


class ForwardHandler(JupyterHandler):
    """A page or a question, fetched from a cluster's dashboard with the token added."""

    auth_resource = RESOURCE
    SUPPORTED_METHODS = ("GET",)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, name, path):
        if not self.check_origin():
            raise web.HTTPError(403, "this request was made by a page of another site")
        cluster = find_cluster(name)
        if cluster is None:
            raise web.HTTPError(404, f"no cluster named {name} of this user runs on this machine")
        query = f"?{self.request.query}" if self.request.query and path.startswith("api/") else ""
        request = HTTPRequest(
            f"{cluster.dashboard}/{path}{query}",
            headers={"Authorization": f"Bearer {cluster.token}"},
            connect_timeout=CONNECT_TIMEOUT,
            request_timeout=REQUEST_TIMEOUT,
            follow_redirects=False,
        )
        try:
            response = await AsyncHTTPClient().fetch(request, raise_error=False)
        except (OSError, HTTPClientError) as error:
            self.log.warning("the dashboard of cluster %s at %s: %s", name, cluster.dashboard, error)
            raise web.HTTPError(502, f"the dashboard of cluster {name} does not answer") from error
        if response.code in (599, 401):
            self.log.warning("the dashboard of cluster %s at %s: %s", name, cluster.dashboard, response.error)
            raise web.HTTPError(502, f"the dashboard of cluster {name} does not answer")
        self.set_status(response.code, response.reason)
        for header in PASSED_ON:
            if header in response.headers:
                self.set_header(header, response.headers[header])
        self.finish(response.body or b"")


class StreamHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """The live stream of a cluster's dashboard, passed through. Reading waits for the browser, so nothing piles up."""

    auth_resource = RESOURCE
    _upstream = None
    _pump = None

    def set_default_headers(self):
        """Those of JupyterHandler mean nothing to a WebSocket."""

    @ws_authenticated
    async def get(self, name):
        if not await ensure_async(self.authorizer.is_authorized(self, self.current_user, "read", RESOURCE)):
            raise web.HTTPError(403)
        cluster = find_cluster(name)
        if cluster is None:
            raise web.HTTPError(404, f"no cluster named {name} of this user runs on this machine")
        self._cluster = cluster
        # Checks the Origin (WebSocketMixin.check_origin) before it upgrades.
        await super().get(name)

    async def open(self, name):
        super().open()
        request = HTTPRequest(
            self._cluster.dashboard.replace("http://", "ws://", 1) + "/ws",
            headers={"Authorization": f"Bearer {self._cluster.token}"},
            connect_timeout=CONNECT_TIMEOUT,
        )
        try:
            self._upstream = await websocket_connect(request, max_message_size=STREAM_MESSAGE_BYTES_MAX)
        except (OSError, HTTPClientError, WebSocketClosedError) as error:
            self.log.warning("the stream of cluster %s at %s: %s", name, self._cluster.dashboard, error)
            self.close(1013, f"the dashboard of cluster {name} does not answer"[:120])
            return
        if self.ws_connection is None:
            self._upstream.close()
            return
        self._pump = asyncio.ensure_future(self._read())

    async def _read(self):
        try:
            while (message := await self._upstream.read_message()) is not None:
                await self.write_message(message, binary=isinstance(message, bytes))
        except WebSocketClosedError:
            pass
        finally:
            code = self._upstream.close_code
            reason = (self._upstream.close_reason or "the cluster stopped")[:120]
            # Codes below 1000 and 1005-1006 say that there was none; they must not be sent.
            self.close(code if code and code not in (1005, 1006) else 1001, reason)

    async def on_message(self, message):
        if not isinstance(message, str) or len(message) > REQUEST_MESSAGE_BYTES_MAX:
            self.close(1008, "requests are short JSON texts")
        elif self._upstream is not None:
            try:
                await self._upstream.write_message(message)
            except WebSocketClosedError:
                self.close(1001, "the cluster stopped")

    def on_close(self):
        super().on_close()
        if self._upstream is not None:
            self._upstream.close()


def routes(base_url: str):
    def at(path: str) -> str:
        return url_path_join(base_url, "nuna", path)

    return [
        (at("api/config"), ConfigHandler),
        (at("api/clusters"), ClustersHandler),
        (at(rf"clusters/{CLUSTER}/ws"), StreamHandler),
        (at(rf"clusters/{CLUSTER}/{PATHS}"), ForwardHandler),
    ]
