"""The client against a service that answers, refuses, is slow, breaks off, or is not there."""

import asyncio
import json
from contextlib import aclosing, asynccontextmanager

import pytest

from nuna_hub import ServiceClient, ServiceError
from nuna_hub import service_client as client_module

PASSWORD = "correct horse"


@asynccontextmanager
async def raw_service(folder, answer):
    """A socket whose peer does what `answer(reader, writer)` does."""
    path = str(folder / "raw.sock")

    async def serve(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield ServiceClient(path, timeout_seconds=5)
    finally:
        server.close()


def saying(data: bytes):
    async def answer(_reader, writer):
        writer.write(data)
        await writer.drain()

    return answer


async def error_of(awaitable) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await awaitable
    return caught.value


async def test_answers_arrive(service):
    client = ServiceClient(service.socket_path)
    answer = await client.sign_in("alice", "wonder", 5)
    assert answer == {"name": "alice", "groups": ["ocean", "users"], "admin": False}
    assert 'name="profile"' in await client.form("alice")
    assert await client.options("alice", {"profile": ["small"]}) == {
        "profile": "small",
        "form": {"profile": ["small"]},
    }


async def test_service_and_hub_call_a_request_by_the_same_name(tmp_path):
    heard = []

    async def serve(reader, writer):
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.close()

    server = await asyncio.start_unix_server(serve, str(tmp_path / "raw.sock"))
    try:
        client = ServiceClient(str(tmp_path / "raw.sock"), timeout_seconds=5)
        errors = [await error_of(client.sign_in("alice", PASSWORD, 5)) for _ in range(2)]
    finally:
        server.close()
    names = [line.split(": ")[1] for text in heard for line in text.splitlines() if line.startswith("X-Request-ID: ")]
    assert len(set(names)) == 2 and all(len(name) == 16 for name in names), names
    for error, name in zip(errors, names, strict=True):
        assert error.code == "service_broken" and f"request {name}" in str(error)


async def test_refusal_carries_code_message_status_and_request(service):
    error = await error_of(ServiceClient(service.socket_path).sign_in("alice", PASSWORD, 5))
    assert (error.code, error.status) == ("wrong_password", 401)
    assert error.message == "The user name or the password is wrong."
    assert "7f3a" in str(error)
    assert not error.is_transient


async def test_user_names_are_encoded(service):
    service.users["a b&user=alice"] = ("x", [], False)
    assert "profile" in await ServiceClient(service.socket_path).form("a b&user=alice")


async def test_missing_socket_is_unreachable_and_names_it(folder):
    error = await error_of(ServiceClient(str(folder / "none.sock")).sign_in("alice", PASSWORD, 5))
    assert error.code == "service_unreachable" and error.is_transient and not error.may_have_acted
    assert "none.sock" in error.message


async def test_impossible_socket_path_is_unreachable(folder):
    error = await error_of(ServiceClient("/" + "x" * 200).form("alice"))
    assert error.code == "service_unreachable"


async def test_silent_service_times_out_without_telling_the_password(folder):
    async def silence(reader, _writer):
        await reader.read()

    async with raw_service(folder, silence) as client:
        error = await error_of(client.sign_in("alice", PASSWORD, 0.1))
    assert error.code == "service_timeout" and error.may_have_acted
    assert PASSWORD not in str(error) + repr(error) + repr(error.__cause__)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    ],
)
async def test_malformed_answer_is_broken(folder, data):
    async with raw_service(folder, saying(data)) as client:
        error = await error_of(client.server("abc"))
    assert error.code == "service_broken"


async def test_answer_without_bounds_is_cut(folder, monkeypatch):
    monkeypatch.setattr(client_module, "ANSWER_MAX_BYTES", 1000)
    data = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000
    async with raw_service(folder, saying(data)) as client:
        assert (await error_of(client.form("alice"))).code == "service_broken"


async def test_refusal_without_a_reason_has_a_status(folder):
    data = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops"
    async with raw_service(folder, saying(data)) as client:
        error = await error_of(client.form("alice"))
    assert (error.code, error.status) == ("no_reason", 500)


async def test_events_are_lines_wherever_chunks_break(folder):
    lines = b'{"state":"queued"}\n\n{"state":"running"}\n'

    async def answer(_reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for byte in lines:
            writer.write(b"1;x=y\r\n" + bytes([byte]) + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async with raw_service(folder, answer) as client:
        states = [event["state"] async for event in client.events("abc")]
    assert states == ["queued", "running"]


async def test_closing_the_events_hangs_up(folder):
    hung_up = asyncio.Event()

    async def answer(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"state": "queued"}).encode() + b"\n")
        await writer.drain()
        await reader.read()
        hung_up.set()

    async with raw_service(folder, answer) as client:
        async with aclosing(client.events("abc")) as events:
            assert (await anext(events))["state"] == "queued"
        await asyncio.wait_for(hung_up.wait(), 10)


async def test_silent_events_end(folder, monkeypatch):
    monkeypatch.setattr(client_module, "EVENT_SILENCE_SECONDS", 0.1)

    async def answer(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}\n")
        await writer.drain()
        await reader.read()

    async with raw_service(folder, answer) as client:
        events = client.events("abc")
        assert await anext(events) == {}
        assert (await error_of(anext(events))).code == "service_timeout"


async def test_refused_events_say_why(service):
    error = await error_of(anext(ServiceClient(service.socket_path).events("0" * 32)))
    assert error.code == "no_such_server"


async def test_a_sign_in_is_waited_for_while_the_service_is_well(service, monkeypatch):
    monkeypatch.setattr(client_module, "PROBE_SECONDS", 0.1)
    client = ServiceClient(service.socket_path)
    service.hold_sign_in = asyncio.Event()
    signing_in = asyncio.create_task(client.sign_in("alice", "wonder", 20))
    async with asyncio.timeout(20):
        while service.asked.count("GET /health") < 2:
            await asyncio.sleep(0.01)
    service.hold_sign_in.set()
    assert (await signing_in)["name"] == "alice"


async def test_a_sign_in_ends_with_a_service_that_says_nothing(folder, monkeypatch):
    monkeypatch.setattr(client_module, "PROBE_SECONDS", 0.1)

    async def answer(reader, _writer):
        await reader.read()

    async with raw_service(folder, answer) as client:
        error = await asyncio.wait_for(error_of(client.sign_in("alice", "wonder", 45)), 10)
    assert error.code == "service_timeout"
