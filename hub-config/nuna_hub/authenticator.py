"""`NunaAuthenticator`: sign-in with name and password, decided by `nuna-spawner`.

Owns the mapping between JupyterHub's `Authenticator` and the service's `/auth`. Who exists, who may use the hub and
who administers it is decided by the service from the site's directory.
"""

import os

from jupyterhub.auth import Authenticator
from tornado import web
from traitlets import Float, Unicode, default

from .service_client import DEFAULT_SOCKET, ServiceClient, ServiceError


class NunaAuthenticator(Authenticator):
    """Asks the service `nuna-spawner`, which asks the directory."""

    service_socket = Unicode(help="Unix socket of nuna-spawner. Default: $NUNA_SPAWNER_SOCKET, or " + DEFAULT_SOCKET)
    service_socket.tag(config=True)
    sign_in_timeout = Float(
        45.0, min=1.0, help="Seconds for a sign-in: longer than the service takes to try all directory servers."
    ).tag(config=True)

    @default("service_socket")
    def _service_socket_default(self):
        return os.environ.get("NUNA_SPAWNER_SOCKET", DEFAULT_SOCKET)

    @default("allow_all")
    def _allow_all_default(self):
        # Whom the service lets in is in; `allowed_users` and `blocked_users` still narrow that down.
        return not self.allowed_users

    @default("manage_groups")
    def _manage_groups_default(self):
        return True

    async def authenticate(self, handler, data):
        """The user with groups and administrator's rights, None for a wrong password, an error page if no one can
        tell: "invalid password" would send people to change a good one."""
        username = self.normalize_username(data.get("username", ""))
        password = data.get("password", "")
        if not username or not password:
            # An LDAP bind without a password is anonymous and succeeds; it never gets that far.
            return None
        try:
            answer = await ServiceClient(self.service_socket).sign_in(username, password, self.sign_in_timeout)
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
        admin = answer.get("admin") is True or name in self.admin_users
        return {"name": name, "groups": sorted(map(str, answer.get("groups") or [])), "admin": admin}
