"""One user server's calls, as JupyterHub makes them, against a fake service."""

import asyncio
import json

import pytest

from nuna_hub import attempt
from nuna_hub.refusal import Refusal

ADDRESS = {"host": "127.0.0.1", "port": 41234}


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def started(service, spawner):
    """A spawner whose start is under way and whose job is queued."""
    task = asyncio.create_task(spawner.start())
    await until(lambda: spawner.server_id)
    return task


async def refusal_of(awaitable) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await awaitable
    return caught.value


async def test_start_sends_user_options_environment_and_command(service, new_spawner):
    spawner = new_spawner(args=["--debug"], environment={"EXTRA": "1", "LAZY": lambda spawner: spawner.user.name})
    spawner.user_options = {"profile": "small"}
    task = await started(service, spawner)
    service.server.say("running", 100, "Ready.", address=ADDRESS)
    assert await asyncio.wait_for(task, 20) == ("127.0.0.1", 41234)
    request = service.server.request
    assert (request["user"], request["server_name"]) == ("alice", "")
    assert request["options"] == {"profile": "small"}
    assert request["argv"] == ["jupyterhub-singleuser", "--debug"]
    assert request["environment"]["JUPYTERHUB_API_TOKEN"] == "secret-of-alice"
    assert (request["environment"]["EXTRA"], request["environment"]["LAZY"]) == ("1", "alice")
    assert "PATH" not in request["environment"]
    assert all(isinstance(value, str) for value in request["environment"].values())
    await until(lambda: service.streams_open == 0)


async def test_form_and_options_come_from_the_service(service, new_spawner):
    spawner = new_spawner()
    assert 'value="ocean"' in await spawner.get_options_form()
    options = await spawner.run_options_from_form({"profile": ["ocean"], "_xsrf": ["token"]})
    assert options == {"profile": "ocean", "form": {"profile": ["ocean"]}}


async def test_what_was_typed_and_what_was_chosen_last_reach_the_form(service, new_spawner):
    spawner = new_spawner()
    await spawner.get_options_form()
    assert service.forms.pop() == (None, {})
    await refusal_of(spawner.run_options_from_form({"profile": ["huge"], "_xsrf": ["token"]}))
    await spawner.get_options_form()
    assert service.forms.pop() == ({"profile": ["huge"]}, {}), "once"
    spawner.orm_spawner.user_options = {"profile": "ocean", "cores": "4"}
    await spawner.get_options_form()
    assert service.forms.pop() == (None, {"profile": "ocean", "cores": "4"})
    spawner.user_options = {"profile": "small"}
    await spawner.get_options_form()
    assert service.forms.pop() == (None, {"profile": "small"})


async def test_refused_option_is_shown_in_the_service_s_words(service, new_spawner):
    service.users["alice"] = ("wonder", ["users"], False)
    refusal = await refusal_of(new_spawner().run_options_from_form({"profile": ["ocean"]}))
    assert refusal.status_code == 403
    assert refusal.jupyterhub_message == "The profile Ocean is for members of the group ocean."


async def test_file_in_the_form_is_refused(service, new_spawner):
    refusal = await refusal_of(new_spawner().run_options_from_form({"profile_file": [{"body": b"x"}]}))
    assert refusal.status_code == 400 and "profile_file" in refusal.jupyterhub_message


async def test_user_without_profile_is_told(service, new_spawner):
    del service.users["alice"]
    refusal = await refusal_of(new_spawner().get_options_form())
    assert refusal.status_code == 403 and "No profile is open to alice." == refusal.jupyterhub_message


async def test_rejected_job_is_shown_in_pbs_s_words(service, new_spawner):
    words = "PBS refused the job: qsub: Job violates queue and/or server resource limits (100 % over)"
    service.refuse["POST", "servers"] = [(422, "pbs_rejected", words)]
    spawner = new_spawner()
    refusal = await refusal_of(spawner.start())
    assert (refusal.status_code, refusal.reason, refusal.jupyterhub_message) == (422, "pbs_rejected", words)
    assert await spawner.poll() == 0


async def test_failed_start_ends_with_its_reason(service, new_spawner):
    spawner = new_spawner()
    task = await started(service, spawner)
    service.server.exit = 127
    service.server.say("gone", 100, "jupyterhub-singleuser: not found", failed=True)
    refusal = await refusal_of(asyncio.wait_for(task, 20))
    assert refusal.jupyterhub_message == "jupyterhub-singleuser: not found"
    assert await spawner.poll() == 127


async def test_progress_tells_each_sentence_once_to_early_and_late_readers(service, new_spawner):
    spawner = new_spawner()
    task = await started(service, spawner)

    async def read():
        return [(event["progress"], event["message"]) async for event in spawner.progress()]

    early = asyncio.create_task(read())
    await until(lambda: service.streams_open == 1 and spawner._attempt._told == 1)
    service.server.say("starting", 60, "Job 12.pbs runs on node1.")
    await until(lambda: spawner._attempt._told == 2)
    late = asyncio.create_task(read())
    service.server.say("running", 100, "Ready.", address=ADDRESS)
    await asyncio.wait_for(task, 20)
    told = [(10, "Waiting in the queue."), (60, "Job 12.pbs runs on node1."), (100, "Ready.")]
    assert await asyncio.wait_for(early, 20) == told
    assert await asyncio.wait_for(late, 20) == told
    assert [event async for event in new_spawner().progress()] == []


async def test_start_survives_a_restart_of_the_service(service, new_spawner):
    spawner = new_spawner()
    task = await started(service, spawner)
    await until(lambda: service.streams_open == 1)
    await service.close()
    assert await spawner.poll() is None
    await service.open()
    service.server.say("running", 100, "Ready.", address=ADDRESS)
    assert await asyncio.wait_for(task, 30) == ("127.0.0.1", 41234)


async def test_service_that_starts_late_gets_the_job_once(service, new_spawner):
    await service.close()
    spawner = new_spawner()
    task = asyncio.create_task(spawner.start())
    await asyncio.sleep(0)
    assert await spawner.poll() is None
    await service.open()
    await asyncio.wait_for(service.created.wait(), 20)
    service.server.say("running", 100, "Ready.", address=ADDRESS)
    await asyncio.wait_for(task, 20)
    assert service.asked.count("POST /servers") == 1


async def test_service_that_is_ending_is_asked_again(service, new_spawner):
    service.refuse["POST", "servers"] = [(503, "ending", "The service is being restarted.")]
    task = await started(service, new_spawner())
    service.server.say("running", 100, "Ready.", address=ADDRESS)
    assert await asyncio.wait_for(task, 20) == ("127.0.0.1", 41234)


async def test_start_fails_clearly_without_a_service(new_spawner, monkeypatch):
    monkeypatch.setattr(attempt, "CREATE_TRIES", 1)
    refusal = await refusal_of(new_spawner().start())
    assert refusal.status_code == 503 and "cannot be reached" in refusal.jupyterhub_message


async def test_start_that_the_service_forgets_ends(service, new_spawner):
    spawner = new_spawner()
    task = await started(service, spawner)
    service.servers.clear()
    await service.close()
    await service.open()
    refusal = await refusal_of(asyncio.wait_for(task, 30))
    assert refusal.reason == "no_such_server"


async def test_leftover_of_the_same_name_is_removed_first(service, new_spawner):
    first = await started(service, new_spawner())
    leftover = service.server
    leftover.say("running", 100, "Ready.", address=ADDRESS)
    await first
    spawner = new_spawner()
    spawner.clear_state()
    task = await started(service, spawner)
    assert leftover.state == "gone" and spawner.server_id != leftover.id
    service.servers[spawner.server_id].say("running", 100, "Ready.", address=ADDRESS)
    assert await asyncio.wait_for(task, 20) == ("127.0.0.1", 41234)


async def test_start_cancelled_while_queued_deletes_the_job(service, new_spawner):
    spawner = new_spawner()
    task = await started(service, spawner)
    await until(lambda: service.streams_open == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # As User.stop does.
    if await spawner.poll() is None:
        await spawner.stop()
    assert service.server.state == "gone"
    assert await spawner.poll() is not None
    await until(lambda: service.streams_open == 0)


async def test_start_cancelled_while_submitting_deletes_the_job(service, new_spawner):
    service.hold_create = asyncio.Event()
    spawner = new_spawner()
    task = asyncio.create_task(spawner.start())
    await asyncio.wait_for(service.created.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await spawner.poll() is None, "a job whose id is on its way may exist"
    stop = asyncio.create_task(spawner.stop())
    service.hold_create.set()
    await asyncio.wait_for(stop, 20)
    assert service.server.state == "gone"
    assert await spawner.poll() == 0


async def test_start_cancelled_before_a_failed_submission_leaves_nothing(service, new_spawner):
    await service.close()
    spawner = new_spawner()
    task = asyncio.create_task(spawner.start())
    await until(lambda: spawner._attempt is not None and spawner._attempt.is_submitting)
    task.cancel()
    await asyncio.wait_for(spawner.stop(), 20)
    assert await spawner.poll() == 0
    await service.open()
    assert service.servers == {}


async def test_poll_ends_a_server_only_for_a_definite_gone(service, new_spawner):
    spawner = new_spawner()
    task = await started(service, spawner)
    server = service.server
    server.say("running", 100, "Ready.", address=ADDRESS)
    await task
    assert await spawner.poll() is None
    server.say("unknown", 100, "PBS does not answer.")
    assert await spawner.poll() is None
    service.refuse["GET", "servers"] = [(500, "internal", "x"), (503, "busy", "x"), (404, "no_route", "x")]
    assert [await spawner.poll() for _ in range(3)] == [None, None, None]
    await service.close()
    assert await spawner.poll() is None
    await service.open()
    server.exit = 271
    server.say("gone", 100, "The job was deleted.")
    assert await spawner.poll() == 271
    service.servers.clear()
    assert await spawner.poll() == 0


async def test_spawner_that_never_started_is_stopped(service, new_spawner):
    spawner = new_spawner()
    assert await spawner.poll() == 0
    await spawner.stop()
    assert service.asked == []


async def test_stop_asks_again_until_the_job_is_gone(service, new_spawner):
    spawner = new_spawner()
    task = await started(service, spawner)
    service.server.say("running", 100, "Ready.", address=ADDRESS)
    await task
    service.refuse["DELETE", "servers"] = [(504, "still_stopping", "x"), (503, "pbs_unreachable", "x")]
    await asyncio.wait_for(spawner.stop(), 20)
    assert service.server.state == "gone" and service.refuse["DELETE", "servers"] == []
    await spawner.stop()


async def test_stop_has_a_limit_and_says_so(service, new_spawner):
    spawner = new_spawner(stop_timeout=1)
    task = await started(service, spawner)
    service.server.say("running", 100, "Ready.", address=ADDRESS)
    await task
    service.refuse["DELETE", "servers"] = [(504, "still_stopping", "still there")] * 100
    with pytest.raises(Exception, match="still there"):
        await asyncio.wait_for(spawner.stop(), 20)


async def test_state_is_only_an_id_and_kept_while_the_job_is_queued(service, new_spawner):
    spawner = new_spawner()
    task = await started(service, spawner)
    assert spawner.orm_spawner.state == {"server_id": service.server.id}
    assert "secret" not in json.dumps(spawner.get_state())
    task.cancel()
    spawner.clear_state()
    assert spawner.get_state() == {}


async def test_new_hub_finds_a_running_server_without_asking_where(service, new_spawner):
    spawner = new_spawner()
    task = await started(service, spawner)
    service.server.say("running", 100, "Ready.", address=ADDRESS)
    spawner.server.ip, spawner.server.port = await task
    again = new_spawner()
    assert await again.poll() is None
    await service.close()
    assert await again.get_url() == "http://127.0.0.1:41234/user/alice/"
    await service.open()


async def test_new_hub_waits_for_a_server_that_was_queued(service, new_spawner):
    first = await started(service, new_spawner())
    again = new_spawner()
    assert again.server_id == service.server.id
    assert await again.poll() is None
    url = asyncio.create_task(again.get_url())
    await until(lambda: service.streams_open == 2)
    service.server.say("running", 100, "Ready.", address={"host": "::1", "port": 41234})
    assert await asyncio.wait_for(url, 20) == "http://[::1]:41234/user/alice/"
    await first


async def test_new_hub_gives_up_a_start_that_failed(service, new_spawner):
    first = await started(service, new_spawner())
    again = new_spawner()
    url = asyncio.create_task(again.get_url())
    service.server.say("gone", 100, "Out of memory.", failed=True)
    assert await asyncio.wait_for(url, 20) == again.server.url
    assert await again.poll() == 0
    await refusal_of(first)


@pytest.mark.parametrize("address", [None, {}, {"host": "", "port": 1}, {"host": "a", "port": 0}, {"port": "x"}])
async def test_running_server_without_an_address_is_refused_at_once(service, new_spawner, address):
    task = await started(service, new_spawner())
    service.server.say("running", 100, "Ready.", address=address)
    refusal = await refusal_of(asyncio.wait_for(task, 20))
    assert refusal.reason == "no_address"


async def messages_of(spawner) -> list[str]:
    return [event["message"] async for event in spawner.progress()]


async def test_a_slow_submission_says_what_is_waited_for(service, new_spawner, monkeypatch):
    monkeypatch.setattr(attempt, "WAIT_SECONDS", 0.1)
    service.hold_create = asyncio.Event()
    spawner = new_spawner()
    task = asyncio.create_task(spawner.start())
    await service.created.wait()
    reading = asyncio.create_task(messages_of(spawner))
    service.batch = {"system": "PBS", "answers": True, "words": None}
    await until(lambda: "The job is being submitted; PBS does not answer yet." in told(spawner))
    service.batch = {"system": "PBS", "answers": False, "words": "Connection refused"}
    await until(lambda: any("PBS does not answer at the moment (Connection refused)" in words for words in told(spawner)))
    service.hold_create.set()
    await until(lambda: spawner.server_id)
    service.server.say("running", 100, "Ready.", address=ADDRESS)
    await asyncio.wait_for(task, 20)
    assert (await reading)[-1] == "Ready."


def told(spawner) -> list[str]:
    return [event["message"] for event in spawner._attempt._events] if spawner._attempt else []


async def test_a_service_that_goes_away_is_told_to_who_waits(service, new_spawner):
    spawner = new_spawner()
    task = await started(service, spawner)
    await until(lambda: "Waiting in the queue." in told(spawner))
    await service.close()
    await until(lambda: attempt.SILENT in told(spawner))
    await service.open()
    await until(lambda: told(spawner)[-1] == "Waiting in the queue.")
    service.server.say("running", 100, "Ready.", address=ADDRESS)
    assert await asyncio.wait_for(task, 20) == ("127.0.0.1", 41234)
