"""What was written down is lost: the hub's database, the service's journal, or only a job's place in it."""

import subprocess

import processes
import requests
from processes import until
from scene import Person


def signed_in(stack, name: str) -> Person:
    person = Person(stack, name)
    for mark in ("hold", "stubborn"):
        (person.home / mark).unlink(missing_ok=True)
    _, page, words = person.sign_in()
    assert page is not None and page.status_code == 200, words
    return person


def running(stack, name: str) -> tuple[Person, str]:
    person = signed_in(stack, name)
    person.ask_for_a_server("small")
    person.browser.wait_ready(name)
    (job,) = [job for job, about in stack.living_jobs().items() if about["Job_Owner"].startswith(name)]
    return person, job


def end(stack, person: Person) -> None:
    person.browser.stop(person.name)
    until(lambda: not stack.living_jobs(), "all jobs to end", evidence=stack.logs)


def test_a_hub_that_lost_its_database_starts_the_server_anew_and_removes_the_old_one(stack):
    person, old = running(stack, "running")
    stack.hub.crash()
    database = stack.folder / "jupyterhub.sqlite"
    assert database.exists()
    for file in stack.folder.glob("jupyterhub.sqlite*"):
        file.unlink()
    stack.hub.start()
    assert list(stack.living_jobs()) == [old], "nobody stops what somebody may still save"
    person = signed_in(stack, "running")
    assert person.browser.server("running") is None
    person.ask_for_a_server("small")
    person.browser.wait_ready("running")
    until(lambda: len(stack.living_jobs()) == 1 and old not in stack.living_jobs(), "one job", evidence=stack.logs)
    assert person.pid()
    end(stack, person)


def test_a_job_of_ours_that_nobody_knows_is_removed_at_the_start(stack):
    person, job = running(stack, "running")
    prefix = stack.jobs()[job]["Job_Name"][:9]
    assert prefix.startswith("nuna-")
    stack.crash("nuna-spawner")
    # As a crash between `qsub` and its answer leaves one, if even the journal has lost it.
    script = stack.folder / "orphan.sh"
    script.write_text("sleep 600\n")
    names = {"orphan": f"{prefix}ffffff", "other": "nuna-zzzz00000"}
    jobs = {
        what: stack.command("qsub", "-N", name, "-o", "/dev/null", "-j", "oe", str(script)).stdout.strip()
        for what, name in names.items()
    }
    stack.start_service()
    until(lambda: jobs["orphan"] not in stack.living_jobs(), "the orphan to go", evidence=stack.logs)
    assert set(stack.living_jobs()) == {job, jobs["other"]}, "a user's server, and what is not ours, stay"
    assert "belongs to no user server" in (stack.folder / "nuna-spawner.log").read_text()
    assert stack.command("qdel", jobs["other"]).returncode == 0
    assert person.pid()
    end(stack, person)


def test_a_damaged_journal_stops_the_service_in_words_and_a_lost_one_does_not(stack):
    person, job = running(stack, "running")
    stack.crash("nuna-spawner")
    journal = stack.folder / "service" / "spawner.redb"
    whole = journal.read_bytes()
    journal.write_bytes(b"damaged" * 1000)
    command = [processes.program("nuna-spawner"), "serve", "--config", stack.folder / "spawner.toml"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, env=stack._environment)
    assert refused.returncode != 0
    assert "spawner.redb is damaged or no journal" in refused.stderr and "Put back a copy" in refused.stderr
    # The copy brings everything back.
    journal.write_bytes(whole)
    stack.start_service()
    assert person.pid() and person.server()["ready"]

    stack.crash("nuna-spawner")
    journal.unlink()
    stack.start_service()
    # Nobody knows the server any more; its job is the administrator's, and the person gets another.
    until(lambda: person.server() is None, "the hub to notice", evidence=stack.logs)
    assert list(stack.living_jobs()) == [job]
    person = signed_in(stack, "running")
    person.ask_for_a_server("small")
    person.browser.wait_ready("running")
    assert person.pid()
    assert stack.command("qdel", job).returncode == 0
    end(stack, person)
    assert requests.get(f"{stack.hub.url}/hub/health", timeout=10).status_code == 200
