"""JupyterHub's configuration in the demo that `cargo xtask up` starts: everything on loopback, as one Unix account.

Owns the wiring of hub, proxy and service. Ports and folders come from the environment; profiles, sign-in and limits
are in the service's own configuration. A site's configuration is written by the Ansible role and differs in
addresses, TLS and folders only.
"""

import os
from pathlib import Path

import nuna_hub

c = get_config()  # noqa: F821  (JupyterHub defines it)

state = Path(os.environ["NUNA_UP_STATE"]).resolve()
public_port, hub_port, proxy_api_port, service_port = (
    int(os.environ[name])
    for name in ("NUNA_UP_PORT", "NUNA_UP_HUB_PORT", "NUNA_UP_PROXY_API_PORT", "NUNA_SERVICE_PORT")
)

c.JupyterHub.bind_url = f"http://127.0.0.1:{public_port}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{hub_port}"
c.JupyterHub.db_url = f"sqlite:///{state / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(state / "jupyterhub_cookie_secret")
c.JupyterHub.pid_file = str(state / "jupyterhub.pid")

# JupyterHub's own proxy class, with patience. It starts `configurable-http-proxy`; on the demo's PATH that is nuna-proxy.
c.JupyterHub.proxy_class = "nuna_hub.NunaProxy"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{proxy_api_port}"
c.ConfigurableHTTPProxy.pid_file = str(state / "jupyterhub-proxy.pid")

c.JupyterHub.authenticator_class = "nuna_hub.NunaAuthenticator"
c.JupyterHub.spawner_class = "nuna_hub.NunaSpawner"
c.NunaAuthenticator.service_socket = c.NunaSpawner.service_socket = os.environ["NUNA_SPAWNER_SOCKET"]
# The demo's homes hold the tutorial, which is what a newcomer looks for.
c.Spawner.default_url = "/lab/tree/first-cluster.ipynb"
if os.getuid() == 0:
    # In a container the one account of the demo is often root, which Jupyter refuses unless told.
    c.Spawner.args = ["--allow-root"]
# A first JupyterLab on a busy laptop needs more than the 30 s of a server that is merely slow.
c.Spawner.http_timeout = 90
c.NunaSpawner.poll_interval = 5

# Pages that show the queue, the reason of a failure, and when a server ends.
c.JupyterHub.template_paths = [nuna_hub.TEMPLATES]
# How many one person may have at once is nuna-spawner's limits.servers_per_user_max.
c.JupyterHub.allow_named_servers = True

# A user server is a job of its own: it outlives the hub, and a hub that starts again finds it.
c.JupyterHub.cleanup_servers = False
# The rest of the hub need not wait for those that were still queued.
c.JupyterHub.init_spawners_timeout = 1
# A job that waits in the queue is a pending spawn to JupyterHub; how many may wait is the queue's business.
c.JupyterHub.concurrent_spawn_limit = 0

c.JupyterHub.services = [
    {
        "name": "nuna",
        "url": f"http://127.0.0.1:{service_port}",
        "api_token": Path(os.environ["NUNA_SERVICE_TOKEN_FILE"]).read_text().strip(),
        "oauth_redirect_uri": "/services/nuna/oauth_callback",
        # The service is part of the hub: users need not be asked whether it may know their name.
        "oauth_no_confirm": True,
        "display": False,
    }
]
# Whoever may use the hub may use the service; it shows each user what is theirs.
c.JupyterHub.extra_user_scopes = ["access:services!service=nuna"]
