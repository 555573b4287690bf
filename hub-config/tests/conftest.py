"""Fixtures: a fake service on a unix socket, and spawners that belong to a user in a database, as in a hub."""

import tempfile
from pathlib import Path

import pytest
from fake_service import FakeService
from jupyterhub import orm
from jupyterhub.objects import Hub, Server
from jupyterhub.user import User

from nuna_hub import NunaSpawner


@pytest.fixture
def folder():
    # Not tmp_path: a unix socket's path has to be shorter than 108 bytes.
    with tempfile.TemporaryDirectory(prefix="nuna-") as path:
        yield Path(path)


@pytest.fixture
async def service(folder):
    service = FakeService(str(folder / "spawner.sock"))
    await service.open()
    yield service
    await service.close()


@pytest.fixture
def new_spawner(folder):
    """Makes spawners of alice; a second one finds the first one's state, as after a restart of the hub."""
    session = orm.new_session_factory("sqlite:///:memory:")()
    session.add(orm.User(name="alice"))
    session.commit()
    orm_user = session.query(orm.User).one()

    def make(**settings):
        user = User(orm_user, {})
        settings = {"service_socket": str(folder / "spawner.sock"), "service_timeout": 5.0, **settings}
        spawner = user._new_spawner(
            "", spawner_class=NunaSpawner, hub=Hub(), oauth_client_id="jupyterhub-user-alice", **settings
        )
        spawner.api_token = "secret-of-alice"
        if spawner.server is None:
            orm_server = orm.Server(base_url="/user/alice/")
            session.add(orm_server)
            session.commit()
            spawner.server = Server(orm_server=orm_server)
        return spawner

    yield make
    session.close()
