"""`NunaProxy`: JupyterHub's own proxy class, for a proxy that is restarted, paused or cut off while the hub goes on.

Owns patience: JupyterHub gives up after half a minute, and then stops the server whose route it could not add. And it
owns the watch: a proxy that was restarted has no routes, and gets them back at once. Routes themselves, and how the
proxy is started, are the base class's.
"""

import asyncio

from aiohttp import ClientResponseError
from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets import Float

#: The base class asks again for 30 s by itself; a proxy that takes the connection and says nothing is cut off after this.
ATTEMPT_SECONDS = 40.0


class NunaProxy(ConfigurableHTTPProxy):
    """As configurable-http-proxy is driven, with more patience and an eye on the routes."""

    patience = Float(
        600.0, min=0.0, help="Seconds that a route waits for a proxy that does not answer, before its server is stopped."
    ).tag(config=True)
    delete_patience = Float(
        10.0, min=0.1, help="Seconds that the end of a server waits for its route's removal, which is then made up for."
    ).tag(config=True)
    watch_interval = Float(
        5.0, min=0.1, help="Seconds between two looks whether the proxy is there and has its routes."
    ).tag(config=True)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._watch: asyncio.Task | None = None
        # Whether the proxy may have other routes than the hub believes.
        self._unsure = False

    async def api_request(self, path, method="GET", body=None):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    return await super().api_request(path, method, body)
            except TimeoutError:
                if loop.time() >= deadline:
                    raise
                self.log.warning("The proxy at %s does not answer; %s %s is asked again", self.api_url, method, path)

    async def delete_route(self, routespec):
        """A server that ends is not kept by a proxy that is away: what is left of its route goes once it is back."""
        try:
            async with asyncio.timeout(self.delete_patience):
                await super().delete_route(routespec)
        except TimeoutError:
            self._unsure = True
            self.log.warning("The proxy does not answer; the route %s is removed once it does", routespec)

    async def check_routes(self, user_dict, service_dict, routes=None):
        checked = await super().check_routes(user_dict, service_dict, routes)
        if self._watch is None:
            # JupyterHub's first check, when everything is known that routes lead to.
            self._watch = asyncio.create_task(self._look_after(user_dict, service_dict))
        return checked

    async def _look_after(self, user_dict, service_dict) -> None:
        while True:
            await asyncio.sleep(self.watch_interval)
            try:
                if await self._has_its_routes(service_dict) and not self._unsure:
                    continue
                self._unsure = False
                self.log.warning("The proxy was away; its routes are looked at")
                await self.check_routes(user_dict, service_dict)
            except Exception as error:
                # Whatever it is, the next look may find a proxy that answers.
                if not self._unsure:
                    self.log.error("The proxy at %s does not answer: %s", self.api_url, error or type(error).__name__)
                self._unsure = True

    async def _has_its_routes(self, service_dict) -> bool:
        """Asks for one route that is always there; with no service, for all."""
        async with asyncio.timeout(2 * self.watch_interval):
            for service in service_dict.values():
                if service.server is not None:
                    return await self._has_route(service.proxy_spec)
            return self.app.hub.routespec in await self.get_all_routes()

    async def _has_route(self, routespec: str) -> bool:
        try:
            await super().api_request(self._routespec_to_chp_path(routespec))
        except ClientResponseError as error:
            if error.status != 404:
                raise
            return False
        return True
