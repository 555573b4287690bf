"""JupyterHub's side of Nuna.

Shims, a class per file, that hold no policy: who may sign in, which profiles exist, how a job is written and
when it counts as lost is decided by `nuna-spawner`. They translate JupyterHub's calls, forward them over a unix
socket, and map the answers back.
"""

from .authenticator import NunaAuthenticator
from .proxy import NunaProxy
from .service_client import ServiceClient, ServiceError
from .spawner import NunaSpawner

__version__ = "0.1.0"
__all__ = ["NunaAuthenticator", "NunaProxy", "NunaSpawner", "ServiceClient", "ServiceError", "__version__"]
