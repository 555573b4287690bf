"""`POST /hub/nuna/cancel/USER/SERVER`: the button of the progress page, which works without JavaScript.

Does what `DELETE /hub/api/users/USER/servers/SERVER` does, and sends the browser to the home page. Permission and the
form's token are JupyterHub's to check.
"""

import asyncio

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import url_path_join
from tornado import web

#: A cancelled start needs a moment to be over.
CANCEL_SECONDS_MAX = 10.0


class CancelHandler(BaseHandler):
    @web.authenticated
    @needs_scope("delete:servers")
    async def post(self, user_name, server_name=""):
        user = self.find_user(user_name)
        if user is None or (server_name and server_name not in user.orm_spawners):
            raise web.HTTPError(404, "There is no such server")
        spawner = user.spawners[server_name]
        if spawner.pending == "spawn":
            self.log.info("%s is cancelled while it starts", spawner._log_name)
            if spawner._spawn_future:
                spawner._spawn_future.cancel()
            await self._until_nothing_is_pending(spawner)
            await self.stop_single_user(user, server_name)
        elif spawner.ready:
            await self.stop_single_user(user, server_name)
        self.redirect(url_path_join(self.hub.base_url, "home"))

    async def _until_nothing_is_pending(self, spawner) -> None:
        try:
            async with asyncio.timeout(CANCEL_SECONDS_MAX):
                while spawner.pending:
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise web.HTTPError(503, "The start could not be cancelled yet. Try again in a moment") from error
