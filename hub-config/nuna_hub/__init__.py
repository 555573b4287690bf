"""JupyterHub's side of Nuna.

Shims, a class per file, that hold no policy: who may sign in, which profiles exist, how a job is written and
when it counts as lost is decided by `nuna-spawner`. They translate JupyterHub's calls, forward them over a unix
socket, and map the answers back.
"""

from pathlib import Path

from .authenticator import NunaAuthenticator
from .proxy import NunaProxy
from .service_client import ServiceClient, ServiceError
from .spawner import NunaSpawner

__version__ = "0.1.0"
#: For `JupyterHub.template_paths`: pages that show what the service knows of a start and of a server's end.
TEMPLATES = str(Path(__file__).parent / "templates")
__all__ = ["NunaAuthenticator", "NunaProxy", "NunaSpawner", "ServiceClient", "ServiceError", "TEMPLATES", "__version__"]
