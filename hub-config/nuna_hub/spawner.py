"""`NunaSpawner`: JupyterHub's calls for one user server, forwarded to `nuna-spawner`.

Owns the mapping between JupyterHub's `Spawner` and the service's API. Holds no policy (profiles, limits, job scripts
and what counts as lost are the service's) and persists only the server's id.
"""

import os
from contextlib import aclosing
from weakref import WeakKeyDictionary

from jupyterhub.spawner import Spawner
from sqlalchemy.orm import object_session
from traitlets import Float, Unicode, default

from .attempt import FOLLOW_GRACE_SECONDS, Attempt, remove
from .refusal import Refusal
from .service_client import DEFAULT_SOCKET, ServiceClient, ServiceError
from .status import Status

#: Forms as they were sent, by user, until one is drawn again or a server has started: nothing that was typed is lost.
_SENT: WeakKeyDictionary = WeakKeyDictionary()


class NunaSpawner(Spawner):
    """Runs user servers as batch jobs through the service `nuna-spawner`."""

    service_socket = Unicode(help="Unix socket of nuna-spawner. Default: $NUNA_SPAWNER_SOCKET, or " + DEFAULT_SOCKET)
    service_socket.tag(config=True)
    service_timeout = Float(
        10.0, min=0.1, help="Seconds for a question that the service answers by itself: form, options, state."
    ).tag(config=True)
    submit_timeout = Float(
        90.0, min=1.0, help="Seconds for a submission: longer than the service's own limit for a PBS command."
    ).tag(config=True)
    stop_timeout = Float(
        120.0, min=1.0, help="Seconds until a job has to be gone: longer than the service's limits.stop_seconds."
    ).tag(config=True)

    @default("service_socket")
    def _service_socket_default(self):
        return os.environ.get("NUNA_SPAWNER_SOCKET", DEFAULT_SOCKET)

    @default("start_timeout")
    def _start_timeout_default(self):
        # The service limits the wait in the queue and the start, each for itself, and says which was exceeded.
        # JupyterHub's single limit counts both, and its message blames the wrong one; it is only the last resort.
        return 7 * 24 * 3600

    @default("poll_interval")
    def _poll_interval_default(self):
        # A poll asks the service, which asks PBS once for everyone; it costs a local request.
        return 10

    @default("options_form")
    def _options_form_default(self):
        return self._service_form

    @default("options_from_form")
    def _options_from_form_default(self):
        return self._service_options

    @default("apply_user_options")
    def _apply_user_options_default(self):
        # They are applied by the service. Without a hook JupyterHub would log them as unhandled.
        return lambda spawner, user_options: None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.server_id = ""
        self._attempt: Attempt | None = None
        self._unsure = False
        self._status: Status | None = None

    @property
    def status(self) -> Status | None:
        """What the service said last, for pages: a start that is followed says it at once, others with each poll."""
        if self._attempt is not None and self._attempt.is_followed:
            return self._attempt.status
        return self._status or (self._attempt and self._attempt.status)

    @property
    def client(self) -> ServiceClient:
        return ServiceClient(self.service_socket, self.service_timeout)

    # Options

    async def _service_form(self, spawner):
        # JupyterHub draws a form that was refused from the user's default spawner, whatever the server's name is.
        sent = _SENT.pop(self.user, None)
        try:
            return await self.client.form(self.user.name, sent, self._last_options())
        except ServiceError as error:
            raise Refusal.from_service(error) from error

    async def _service_options(self, form_data):
        form = {}
        _SENT.pop(self.user, None)
        for name, values in form_data.items():
            if name == "_xsrf":
                continue
            if not all(isinstance(value, str) for value in values):
                raise Refusal("bad_option", f"The field {name} holds a file, and profiles take none.", 400)
            form[name] = list(values)
        _SENT[self.user] = form
        try:
            return await self.client.options(self.user.name, form)
        except ServiceError as error:
            raise Refusal.from_service(error) from error

    def _last_options(self) -> dict:
        """What was chosen for this server the last time, or for the default one: the hub keeps it."""
        default = self.user.orm_spawners.get("")
        options = self.user_options or (default and default.user_options) or {}
        return {name: value for name, value in options.items() if not isinstance(value, bytes)}

    # Start, progress, stop

    async def start(self):
        """Submits the job and waits until its user server answers; returns host and port."""
        request = {
            "user": self.user.name,
            "server_name": self.name,
            "options": self._plain_options(),
            "environment": {name: str(value) for name, value in self.get_env().items() if value is not None},
            "argv": [*self.cmd, *self.get_args()],
            # A server that is not asked about any more has been forgotten; 0 promises nothing.
            "poll_seconds": self.poll_interval,
            "command_words": len(self.cmd),
        }
        self._status = None
        attempt = self._attempt = Attempt(self.client, self.log, self.submit_timeout, self.stop_timeout)
        address = await attempt.start(request, self._keep)
        _SENT.pop(self.user, None)
        return address

    async def progress(self):
        """What the service says about the start: place in the queue, PBS's comment, the launcher's steps."""
        if self._attempt is not None:
            async with aclosing(self._attempt.progress()) as events:
                async for event in events:
                    yield event

    async def stop(self, now=False):
        """Returns once the job is gone."""
        if self._attempt is not None:
            await self._attempt.give_up()
        if self.server_id:
            await remove(self.client, self.server_id, self.stop_timeout, self.log)
            self.server_id = ""

    async def poll(self):
        """None while the server may be running. Only a definite "gone" ends a server: a batch system or a service
        that gives no answer says nothing about the user's work."""
        if self._attempt is not None and self._attempt.is_submitting:
            return None
        if not self.server_id:
            return 0
        try:
            server = await self.client.server(self.server_id)
        except ServiceError as error:
            if error.code == "no_such_server":
                self.log.warning("%s: the service knows no server %s", self._log_name, self.server_id)
                return 0
            if not self._unsure:
                self.log.warning("%s: state unknown, taken as running: %s", self._log_name, error)
            self._unsure = True
            return None
        self._unsure = False
        self._status = Status(server)
        if server.get("poll") != "gone":
            return None
        status = server.get("exit")
        self.log.info("%s: server %s is gone: %s", self._log_name, self.server_id, server.get("message", ""))
        return status if isinstance(status, int) else 0

    async def get_url(self):
        """Where the server is. JupyterHub asks at its own start, for servers whose poll says that they run; one that
        was queued or starting when the hub was restarted has no address yet and is waited for."""
        if self.server.ip:
            return self.server.url
        attempt = Attempt(self.client, self.log, self.submit_timeout, self.stop_timeout)
        try:
            host, port = await attempt.follow(self.server_id, self.start_timeout + FOLLOW_GRACE_SECONDS)
        except (ServiceError, Refusal) as error:
            # JupyterHub has no word for "gone" here: it tries the address it has, and cleans up when nobody answers.
            # There is no need to wait for somebody who will not come.
            self.log.error("%s: no address of server %s: %s", self._log_name, self.server_id, error)
            self.http_timeout = 1
            return self.server.url
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if self.internal_ssl else "http"
        return f"{scheme}://{host}:{port}{self.server.base_url}"

    # State

    def get_state(self):
        state = super().get_state()
        if self.server_id:
            state["server_id"] = self.server_id
        return state

    def load_state(self, state):
        super().load_state(state)
        self.server_id = state.get("server_id", "")

    def clear_state(self):
        super().clear_state()
        self.server_id = ""

    def _keep(self, server_id: str) -> None:
        """Remembers the id at once. JupyterHub saves the state only after `start`, which may be hours later, and a
        hub that is restarted in between would forget a job that waits in the queue."""
        self.server_id = server_id
        if self.orm_spawner is not None:
            self.orm_spawner.state = self.get_state()
            session = object_session(self.orm_spawner)
            if session is not None:
                session.commit()

    def _plain_options(self) -> dict:
        options = dict(self.user_options or {})
        if any(isinstance(value, bytes) for value in options.values()):
            raise Refusal("bad_option", "Options hold a file, and profiles take none.", 400)
        return options
