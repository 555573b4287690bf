"""JupyterLab extension for Nuna clusters: where its files are, and its server part."""

__version__ = "0.1.0"


def _jupyter_labextension_paths():
    return [{"src": "labextension", "dest": "@nuna/labextension"}]


def _jupyter_server_extension_points():
    return [{"module": "nuna_labextension"}]


def _load_jupyter_server_extension(server_app):
    from .handlers import routes

    web_app = server_app.web_app
    web_app.add_handlers(".*$", routes(web_app.settings["base_url"]))
    server_app.log.info("nuna_labextension: dashboards of Nuna clusters at %snuna/", web_app.settings["base_url"])
