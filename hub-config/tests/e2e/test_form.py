"""The form, the progress page and the home page as people use them: Chromium before the real programs, on loopback.

Profiles are of this story's own: small queues that are full or stopped when the story needs it.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import screenshot

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import processes  # noqa: E402
import stack as stacks  # noqa: E402

PROFILES = """
[profiles.work]
title = "Work"
description = "Cores and time as you need them."
queue = "workq"
walltime = "00:20:00"
order = -2
[profiles.work.options]
ncpus = { kind = "number", title = "Cores", min = 1, max = 2, default = 1, for_groups = { ocean = 4 } }
mem = { kind = "choice", title = "Memory", choices = [{ value = "1gb", title = "Small" }, { value = "2gb", title = "Large" }], default = "1gb" }
walltime = { kind = "walltime", title = "Time", max = "01:00:00" }

[profiles.broken]
inherit = "work"
title = "Broken"
order = -1
command = ["sh", "-c", "sleep 3; echo '<img src=x onerror=\\"window.hacked=1\\">' >&2; echo 'no module named lab' >&2; exit 3", "sh"]

[profiles.broken_at_once]
inherit = "broken"
command = ["sh", "-c", "echo '<img src=x onerror=\\"window.hacked=1\\">' >&2; echo 'no module named lab' >&2; exit 3", "sh"]
"""


@pytest.fixture(scope="module")
def site():
    with tempfile.TemporaryDirectory(prefix="nuna-") as name:
        running = stacks.Stack(Path(name), PROFILES)
        pbsnodes = running.folder / "commands" / "pbsnodes"
        pbsnodes.symlink_to(processes.program("nuna-pbs"))
        try:
            running.start()
            yield running
        finally:
            running.stop()
            print(running.logs())


@pytest.fixture
def visit(chromium, site):
    """Signed in as alice, with or without JavaScript, in light or dark."""
    contexts = []

    def open_page(scripts: bool = True, dark: bool = False):
        context = chromium.new_context(
            java_script_enabled=scripts,
            color_scheme="dark" if dark else "light",
            viewport={"width": 1000, "height": 1000},
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{site.hub.url}/hub/login")
        page.fill("#username_input", "alice")
        page.fill("#password_input", site.password("alice"))
        page.click("#login_submit")
        page.goto(f"{site.hub.url}/hub/spawn")
        return page

    yield open_page
    for context in contexts:
        context.close()


def until(check, what: str):
    deadline = time.monotonic() + 60
    while not (found := check()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


def stop(page, site):
    page.goto(f"{site.hub.url}/hub/home")
    page.click("#stop")
    page.wait_for_selector("#start:has-text('Start')")
    until(lambda: not site.living_jobs(), "the job to end")


def test_the_form_by_keyboard_alone_from_profile_to_progress(site, visit):
    page = visit()
    page.wait_for_selector("text=8 cores are free, 1 node is empty")
    screenshot(page, "form-1-light")
    assert page.locator("text=Queue stuck is stopped").count() == 1
    assert page.locator("text=Queue closed takes no jobs").count() == 1
    page.focus("input[name=profile]:checked")
    assert page.locator("input[name=profile]:checked").get_attribute("value") == "work"
    # Down and up again: a radio group moves with arrows; options follow the choice.
    page.keyboard.press("ArrowDown")
    assert not page.locator("[name='work.ncpus']").is_visible()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    names = []
    for _ in range(3):
        names.append(page.evaluate("document.activeElement.name"))
        if names[-1] == "work.ncpus":
            page.keyboard.press("Control+A")
            page.keyboard.type("9")
        if names[-1] == "work.walltime":
            page.keyboard.press("Control+A")
            page.keyboard.type("00:15:00")
        page.keyboard.press("Tab")
    assert sorted(names) == ["work.mem", "work.ncpus", "work.walltime"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    # Sent back, with what was typed and the reason beside it, and the cursor there.
    page.wait_for_selector("#nuna-work-ncpus-error:has-text('not a number from 1 to 4')")
    screenshot(page, "form-2-refused")
    assert page.input_value("[name='work.ncpus']") == "9" and page.input_value("[name='work.walltime']") == "00:15:00"
    assert page.evaluate("document.activeElement.name") == "work.ncpus"
    described = page.get_attribute("[name='work.ncpus']", "aria-describedby").split()
    assert all(page.locator(f"[id='{name}']").count() == 1 for name in described)
    page.keyboard.press("Control+A")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/hub/spawn-pending/|/user/alice/"))
    page.wait_for_url(re.compile(r"/user/alice/"), timeout=120_000)
    (job,) = site.living_jobs().values()
    assert str(job["Resource_List"]["ncpus"]) == "3" and job["Resource_List"]["walltime"] == "00:15:00"

    # The home page knows when it ends; what ends soon is marked.
    def says_when():
        page.goto(f"{site.hub.url}/hub/home")
        return page.locator("#nuna-servers li:has-text('Running, ends in 14 min')").count()

    until(says_when, "the end on the home page")
    screenshot(page, "form-3-home")
    assert "Save your work" in page.inner_text("#nuna-servers")
    stop(page, site)

    # What was chosen is there again.
    page.goto(f"{site.hub.url}/hub/spawn")
    assert page.input_value("[name='work.ncpus']") == "3" and page.input_value("[name='work.walltime']") == "00:15:00"
    page.wait_for_selector("text=As you chose last time")


def test_without_javascript_the_form_starts_and_cancel_ends_a_waiting_job(site, visit):
    page = visit(scripts=False)
    page.locator("input[name=profile][value=stuck]").check()
    page.click("#spawn_form [type=submit]")
    page.wait_for_url(re.compile(r"/hub/spawn-pending/"))
    until(lambda: page.reload() and "Waiting in the queue" in page.inner_text("#nuna-told"), "the words on the page")
    assert re.search(r"Job\s+\d+\.pbshead", page.inner_text("#nuna-told"))
    assert page.locator("meta[http-equiv=refresh]").count() == 1
    screenshot(page, "form-4-waiting-no-script")
    assert len(site.living_jobs()) == 1
    page.click("#cancel")
    page.wait_for_url(re.compile(r"/hub/home"))
    until(lambda: not site.living_jobs(), "the job to be deleted")
    # A wrong value is told without scripts as well.
    page.goto(f"{site.hub.url}/hub/spawn")
    page.locator("input[name=profile][value=work]").check()
    page.fill("[name='work.ncpus']", "many")
    page.click("#spawn_form [type=submit]")
    page.wait_for_selector("#nuna-work-ncpus-error")
    assert page.input_value("[name='work.ncpus']") == "many"


def test_a_named_server_waits_with_pbs_s_words_and_is_cancelled(site, visit):
    page = visit(dark=True)
    page.goto(f"{site.hub.url}/hub/spawn/alice/second")
    screenshot(page, "form-5-dark")
    page.locator("input[name=profile][value=stuck]").check()
    page.click("#spawn_form [type=submit]")
    page.wait_for_selector("#nuna-told dd[data-nuna=elapsed]:has-text(' s')")
    page.wait_for_selector("#nuna-told dd[data-nuna=queue]:has-text('stuck')")
    screenshot(page, "form-6-progress-dark")
    page.click("#cancel")
    page.wait_for_url(re.compile(r"/hub/home"))
    until(lambda: not site.living_jobs(), "the named server's job to be deleted")


def test_a_failure_has_its_reason_and_what_was_printed_and_tries_again(site, visit):
    page = visit()
    page.check("input[name=profile][value=broken]")
    page.fill("[name='broken.ncpus']", "2")
    page.click("#spawn_form [type=submit]")
    page.wait_for_selector("text=no module named lab")
    screenshot(page, "form-7-failed")
    assert "<img src=x" in page.inner_text("body"), "what was printed is text"
    assert page.evaluate("window.hacked") is None and page.locator("img[src=x]").count() == 0
    page.reload()
    page.wait_for_selector("#nuna-why:has-text('no module named lab')")
    screenshot(page, "form-8-failed-page")
    page.click("#start:has-text('Try again')")
    page.wait_for_selector("#spawn_form")
    assert page.locator("input[name=profile]:checked").get_attribute("value") == "broken"
    assert page.input_value("[name='broken.ncpus']") == "2"
    assert page.evaluate("window.hacked") is None


def test_a_failure_within_a_second_brings_the_form_back_with_what_was_printed(site, visit):
    page = visit()
    page.check("input[name=profile][value=broken_at_once]")
    page.fill("[name='broken_at_once.ncpus']", "2")
    page.click("#spawn_form [type=submit]")
    # The hub waits a second before it shows the progress page, which a slow machine may need for less.
    page.wait_for_selector("text=no module named lab")
    screenshot(page, "form-10-failed-at-once")
    assert "exit code 3" in page.inner_text("body") and "<img src=x" in page.inner_text("body")
    assert page.evaluate("window.hacked") is None and page.locator("img[src=x]").count() == 0
    if page.locator("#spawn_form").count():
        assert page.locator("input[name=profile]:checked").get_attribute("value") == "broken_at_once"
        assert page.input_value("[name='broken_at_once.ncpus']") == "2"


def test_silent_pbs_is_said_and_what_is_shown_is_renewed(site, visit):
    page = visit()
    page.wait_for_selector("text=8 cores are free")
    site.pause("nuna-pbs", True)
    hidden = site.folder / "pbs" / "hidden"
    (site.folder / "pbs" / "socket").rename(hidden)
    try:
        # Nothing is loaded by hand: the page asks by itself.
        page.evaluate("setInterval(() => document.dispatchEvent(new Event('visibilitychange')), 300)")
        page.wait_for_selector("#nuna-stale:visible:has-text('PBS does not answer at the moment')")
        screenshot(page, "form-9-silent")
        assert page.locator("input[name=profile]").count() >= 3
    finally:
        hidden.rename(site.folder / "pbs" / "socket")
        site.pause("nuna-pbs", False)
    page.wait_for_selector("#nuna-stale", state="hidden")


@pytest.mark.parametrize("part", ["hub", "proxy"])
def test_a_page_says_by_itself_that_the_hub_stands_still_and_goes_on_after_it(site, visit, part):
    page = visit()
    page.locator("input[name=profile][value=stuck]").check()
    page.click("#spawn_form [type=submit]")
    page.wait_for_selector("#nuna-told dd[data-nuna=queue]:has-text('stuck')")
    form = page.context.new_page()
    form.goto(f"{site.hub.url}/hub/spawn/alice/other")
    form.wait_for_selector("text=8 cores are free")
    pause = site.hub.pause if part == "hub" else site.hub.pause_proxy
    pause(True)
    try:
        page.wait_for_selector("#nuna-silent:visible:has-text('The hub has not answered for')")
        screenshot(page, f"form-11-{part}-stands-still")
        form.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        form.wait_for_selector("#nuna-stale:visible:has-text('The hub does not answer at the moment')")
    finally:
        pause(False)
    page.wait_for_selector("#nuna-silent", state="hidden")
    form.evaluate("setInterval(() => document.dispatchEvent(new Event('visibilitychange')), 300)")
    form.wait_for_selector("#nuna-stale", state="hidden")
    form.close()
    page.wait_for_selector("#nuna-told dd[data-nuna=queue]:has-text('stuck')")
    page.click("#cancel")
    page.wait_for_url(re.compile(r"/hub/home"))
    until(lambda: not site.living_jobs(), "the job to be deleted")
