"""Sign-in as JupyterHub's login handler asks for it."""

import logging

import pytest
from jupyterhub.auth import Authenticator
from tornado import web

from nuna_hub import NunaAuthenticator


@pytest.fixture
def authenticator(folder):
    return NunaAuthenticator(service_socket=str(folder / "spawner.sock"))


async def sign_in(authenticator, username, password):
    return await authenticator.get_authenticated_user(None, {"username": username, "password": password})


async def test_user_has_groups_and_rights_of_the_directory(service, authenticator):
    alice = await sign_in(authenticator, "Alice", "wonder")
    assert (alice["name"], alice["groups"], alice["admin"]) == ("alice", ["ocean", "users"], False)
    assert (await sign_in(authenticator, "carol", "marvel"))["admin"] is True
    assert isinstance(authenticator, Authenticator) and authenticator.manage_groups


async def test_wrong_password_and_unknown_user_are_the_same(service, authenticator):
    assert await sign_in(authenticator, "alice", "guess") is None
    assert await sign_in(authenticator, "nobody", "guess") is None


async def test_empty_password_is_not_even_asked_about(service, authenticator):
    assert await sign_in(authenticator, "alice", "") is None
    assert await sign_in(authenticator, "", "wonder") is None
    assert service.asked == []


async def test_directory_that_does_not_answer_is_not_a_wrong_password(service, authenticator):
    message = "The directory does not answer: try again in a minute."
    service.refuse["POST", "auth"] = [(503, "directory_unreachable", message)]
    with pytest.raises(web.HTTPError) as caught:
        await sign_in(authenticator, "alice", "wonder")
    assert caught.value.status_code == 503
    assert caught.value.jupyterhub_message == message


async def test_service_that_is_not_there_is_not_a_wrong_password(authenticator, caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(web.HTTPError) as caught:
        await sign_in(authenticator, "alice", "wonder")
    assert caught.value.status_code == 503
    assert "cannot be reached" in caught.value.jupyterhub_message
    assert "wonder" not in caplog.text + str(caught.value)


async def test_configured_lists_narrow_the_directory(service, folder):
    only_bob = NunaAuthenticator(service_socket=service.socket_path, allowed_users={"bob"})
    assert await sign_in(only_bob, "alice", "wonder") is None
    admin = NunaAuthenticator(service_socket=service.socket_path, admin_users={"alice"})
    assert (await sign_in(admin, "alice", "wonder"))["admin"] is True
