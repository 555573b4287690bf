"""How a refusal of the service reaches JupyterHub's own pages.

JupyterHub shows `jupyterhub_message` of an exception on its error pages, in the progress bar and in its API, escaped.
Anything else it would replace by "Unhandled error".
"""

import re
from html import escape

from jupyterhub.spawner import SpawnException

from .service_client import ServiceError


class Refusal(SpawnException):
    """A refusal in the service's words. Logged without a traceback, counted under its code."""

    def __init__(self, code: str, message: str, status: int, log_message: str = "", detail: str = ""):
        # The reason becomes part of the HTTP status line and a label of a metric.
        reason = code if re.fullmatch(r"[a-z][a-z0-9_]{0,63}", code) else "refused"
        status = status if 400 <= status <= 599 else 503
        super().__init__(message, reason=reason, log_message=log_message or message, status_code=status)
        self.jupyterhub_message = message
        if detail:
            # JupyterHub puts this into the page as it is, and a job may have printed anything.
            self.message_html = f"{escape(message)}<pre style='text-align: left'>{escape(detail)}</pre>"
            self.jupyterhub_html_message = self.message_html

    @classmethod
    def from_service(cls, error: ServiceError) -> "Refusal":
        return cls(error.code, error.message, error.status, str(error))
