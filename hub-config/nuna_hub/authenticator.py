"""`NunaAuthenticator`: sign-in with name and password, and who still has access, decided by `nuna-spawner`.

Owns the mapping between JupyterHub's `Authenticator` and the service's `/auth` and `/users/NAME/standing`. Who exists,
who may use the hub and who administers it is decided by the service from the site's directory.
"""

import asyncio
import ipaddress
import os
import time

from jupyterhub.auth import Authenticator
from tornado import web
from traitlets import Bool, Float, Unicode, default

from .cancel import CancelHandler
from .service_client import DEFAULT_SOCKET, ServiceClient, ServiceError

#: What the directory has decided about somebody: they have no access any more.
ENDED = frozenset({"no_such_user", "account_locked", "not_allowed"})
#: The service cannot ask about people at all.
UNCHECKED = "not_looked_up"


class NunaAuthenticator(Authenticator):
    """Asks the service `nuna-spawner`, which asks the directory."""

    service_socket = Unicode(help="Unix socket of nuna-spawner. Default: $NUNA_SPAWNER_SOCKET, or " + DEFAULT_SOCKET)
    service_socket.tag(config=True)
    sign_in_timeout = Float(
        45.0, min=1.0, help="Seconds for a sign-in: longer than the service takes to try all directory servers."
    ).tag(config=True)
    refresh_timeout = Float(
        10.0, min=0.1, help="Seconds for the question whether somebody still has access. A page waits for it."
    ).tag(config=True)
    refresh_keep = Float(
        24 * 3600.0,
        min=0.0,
        help="Seconds that people keep their access while the directory or the service gives no answer about them.",
    ).tag(config=True)

    stop_servers = Bool(
        False, help="Stop the servers of somebody whose access the directory has ended. Else they go on until their walltime."
    ).tag(config=True)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # Stops under way, which asyncio alone would forget.
        self._stops: set[asyncio.Task] = set()
        # By user, when the directory first gave no answer since the last one it gave.
        self._undecided: dict[str, float] = {}

    @default("service_socket")
    def _service_socket_default(self):
        return os.environ.get("NUNA_SPAWNER_SOCKET", DEFAULT_SOCKET)

    def get_handlers(self, app):
        # JupyterHub's way to add pages: the progress page's button.
        paths = [r"/nuna/cancel/([^/]+)", r"/nuna/cancel/([^/]+)/([^/]+)"]
        return [*super().get_handlers(app), *((path, CancelHandler) for path in paths)]

    @default("allow_all")
    def _allow_all_default(self):
        # Whom the service lets in is in; `allowed_users` and `blocked_users` still narrow that down.
        return not self.allowed_users

    @default("manage_groups")
    def _manage_groups_default(self):
        return True

    @default("refresh_pre_spawn")
    def _refresh_pre_spawn_default(self):
        # A removed user's tab must not start another server, and new groups count at once.
        return True

    @default("auth_refresh_strict")
    def _auth_refresh_strict_default(self):
        # `refresh_user` says no only if the directory has: tokens of such a user end with the cookies.
        return True

    async def authenticate(self, handler, data):
        """The user with groups and administrator's rights, None for a wrong password, an error page if no one can
        tell: "invalid password" would send people to change a good one."""
        username = self.normalize_username(data.get("username", ""))
        password = data.get("password", "")
        if not username or not password.strip() or "\0" in password:
            # An LDAP bind without a password is anonymous and succeeds; it never gets that far.
            return None
        address = self._address(handler)
        try:
            client = ServiceClient(self.service_socket)
            answer = await client.sign_in(username, password, self.sign_in_timeout, address)
        except ServiceError as error:
            if error.code == "wrong_password":
                return None
            self.log.error("Sign-in of %r was not decided: %s", username[:64], error)
            status = error.status if 400 <= error.status <= 599 else 503
            page = web.HTTPError(status, "%s", error.message)
            page.jupyterhub_message = error.message
            raise page from error
        name = answer.get("name")
        if not isinstance(name, str) or not name:
            raise web.HTTPError(502, "the spawner service accepted a user without a name")
        self._undecided.pop(name, None)
        return self._model(name, answer)

    async def refresh_user(self, user, handler=None):
        """Groups and rank as the directory has them now; False if it has ended the user's access. Without an answer
        everything stays as it is, for `refresh_keep` seconds."""
        try:
            answer = await ServiceClient(self.service_socket, self.refresh_timeout).standing(user.name)
        except ServiceError as error:
            if error.code in ENDED:
                self._undecided.pop(user.name, None)
                self.log.warning("%s has no access any more: %s", user.name, error)
                if self.stop_servers and handler is not None:
                    self._stop_servers_of(user, handler)
                return False
            if error.code == UNCHECKED:
                return True
            return self._keeps(user.name, error)
        self._undecided.pop(user.name, None)
        return self._model(user.name, answer)

    def _stop_servers_of(self, user, handler) -> None:
        """As the hub's own page does; the request that brought it up does not wait."""
        for name, spawner in list(user.spawners.items()):
            if spawner.ready:
                task = asyncio.create_task(self._stop_server(user, name, handler))
                self._stops.add(task)
                task.add_done_callback(self._stops.discard)

    async def _stop_server(self, user, name: str, handler) -> None:
        try:
            await handler.stop_single_user(user, name)
        except Exception as error:
            # The next request of this user tries again.
            self.log.error("The server %r of %s was not stopped: %s", name, user.name, error)

    def _keeps(self, name: str, error: ServiceError) -> bool:
        now = time.monotonic()
        if name not in self._undecided:
            self._undecided[name] = now
            self.log.warning("Nobody can say whether %s still has access, which stays for now: %s", name, error)
        if now - self._undecided[name] < self.refresh_keep:
            return True
        self.log.warning("%s has to sign in again: for %g s nobody could say more", name, self.refresh_keep)
        return False

    def _model(self, name: str, answer: dict) -> dict:
        admin = answer.get("admin") is True or name in self.admin_users
        return {"name": name, "groups": sorted(map(str, answer.get("groups") or [])), "admin": admin}

    def _address(self, handler) -> str | None:
        """Where the browser is: what our own proxy has added to X-Forwarded-For, which is its end. Everything before
        that, and X-Real-Ip, which tornado prefers, may be the browser's own words."""
        request = getattr(handler, "request", None)
        if request is None:
            return None
        trusted = getattr(self.parent, "trusted_downstream_ips", None) or []
        entries = [entry.strip() for entry in request.headers.get("X-Forwarded-For", "").split(",")]
        for entry in reversed(entries):
            try:
                address = ipaddress.ip_address(entry)
            except ValueError:
                return None
            if str(address) not in trusted:
                return str(address)
        return None
