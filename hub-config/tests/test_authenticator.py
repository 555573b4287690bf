"""Sign-in as JupyterHub's login handler asks for it, and the refreshes of who is signed in."""

import asyncio
import logging
from types import SimpleNamespace

import pytest
from jupyterhub.auth import Authenticator
from tornado import web
from traitlets.config import Configurable

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
    for blank in (" ", "\t\n", "\0", "wonder\0"):
        assert await sign_in(authenticator, "alice", blank) is None
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


def request(**headers):
    return SimpleNamespace(request=SimpleNamespace(headers={name.replace("_", "-"): value for name, value in headers.items()}))


class Hub(Configurable):
    trusted_downstream_ips = ("10.0.0.1",)


async def test_address_is_what_our_own_proxy_added(service, authenticator):
    authenticator.parent = Hub()
    for handler, address in [
        (request(X_Forwarded_For="192.0.2.7"), "192.0.2.7"),
        # A browser may send what it likes; the proxy appends where it really is.
        (request(X_Forwarded_For="1.2.3.4,192.0.2.7"), "192.0.2.7"),
        (request(X_Forwarded_For="192.0.2.7", X_Real_Ip="1.2.3.4"), "192.0.2.7"),
        (request(X_Forwarded_For="1.2.3.4, 192.0.2.7, 10.0.0.1"), "192.0.2.7"),
        (request(X_Forwarded_For="1.2.3.4,2001:db8::1"), "2001:db8::1"),
        (request(X_Forwarded_For="1.2.3.4,unix:"), None),
        (request(X_Forwarded_For="1.2.3.4\n5,x"), None),
        (request(), None),
        (None, None),
    ]:
        await authenticator.get_authenticated_user(handler, {"username": "alice", "password": "wonder"})
        assert service.addresses.pop() == address


async def test_refresh_brings_the_directory_s_groups_and_rank(service, authenticator):
    alice = SimpleNamespace(name="alice")
    service.users["alice"] = ("wonder", ["users", "ice"], True)
    assert await authenticator.refresh_user(alice) == {"name": "alice", "groups": ["ice", "users"], "admin": True}
    assert authenticator.refresh_pre_spawn and authenticator.auth_refresh_strict


@pytest.mark.parametrize("code", ["no_such_user", "account_locked", "not_allowed"])
async def test_refresh_ends_access_when_the_directory_says_so(service, authenticator, code):
    service.refuse["GET", "users"] = [(403, code, "No more.")]
    assert await authenticator.refresh_user(SimpleNamespace(name="alice")) is False


async def test_without_an_answer_access_stays_for_a_time(service, authenticator, folder):
    alice = SimpleNamespace(name="alice")
    silent = (503, "directory_unreachable", "The directory does not answer.")
    service.refuse["GET", "users"] = [silent, (500, "internal", "The service failed."), silent]
    assert await authenticator.refresh_user(alice) is True
    assert await authenticator.refresh_user(alice) is True
    authenticator.refresh_keep = 0
    assert await authenticator.refresh_user(alice) is False
    # An answer begins it anew, and so does a sign-in.
    assert (await authenticator.refresh_user(alice))["name"] == "alice"
    away = NunaAuthenticator(service_socket=str(folder / "nowhere.sock"))
    assert await away.refresh_user(alice) is True


async def test_directory_that_nobody_may_search_ends_no_access(service, authenticator):
    service.refuse["GET", "users"] = [(501, "not_looked_up", "Nobody is looked up here.")] * 2
    authenticator.refresh_keep = 0
    assert await authenticator.refresh_user(SimpleNamespace(name="alice")) is True


@pytest.mark.parametrize("stops", [False, True])
async def test_servers_of_who_has_left_go_on_unless_the_site_wants_them_stopped(service, authenticator, stops):
    stopped = []

    async def stop_single_user(user, name):
        stopped.append((user.name, name))

    service.refuse["GET", "users"] = [(403, "account_locked", "Locked.")]
    authenticator.stop_servers = stops
    spawners = {"": SimpleNamespace(ready=True), "second": SimpleNamespace(ready=False)}
    user = SimpleNamespace(name="alice", spawners=spawners)
    handler = SimpleNamespace(stop_single_user=stop_single_user)
    assert await authenticator.refresh_user(user, handler) is False
    await asyncio.sleep(0)
    assert stopped == ([("alice", "")] if stops else [])
