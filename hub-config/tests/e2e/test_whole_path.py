"""From login to dashboard, as a scientist does it: Chromium against everything that `cargo xtask up` starts.

The tests are one story and run in order; the first that fails ends it.
"""

import json
import os
import re
import signal
import subprocess
import time
import urllib.parse

from conftest import REPOSITORY, screenshot

DRAWN = """canvas => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Map();
    for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] === 255) {
            const key = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
            colours.set(key, (colours.get(key) ?? 0) + 1);
        }
    }
    return [...colours.values()].filter(count => count > 20).length;
}"""


def qstat(stack) -> dict:
    """What any user of the batch system sees of all jobs."""
    output = subprocess.run(
        [REPOSITORY / "build/bin/qstat", "-x", "-f", "-F", "json"],
        env=dict(os.environ, NUNA_PBS_DIR=str(stack.state / "pbs")),
        capture_output=True,
        text=True,
        timeout=30,
    )
    return json.loads(output.stdout)


def sign_in(stack, page, password: str) -> None:
    page.goto(stack.url)
    page.fill("#username_input", stack.user)
    page.fill("#password_input", password)
    page.click("#login_submit")


def test_1_a_wrong_password_is_refused(stack, page):
    sign_in(stack, page, "not-the-password")
    page.wait_for_selector("text=Invalid username or password")
    screenshot(page, "01-wrong-password")


def test_2_signing_in_shows_the_profiles_of_the_users_groups(stack, page):
    sign_in(stack, page, stack.password)
    page.wait_for_url(re.compile(r"/hub/(spawn|home)"))
    if "/hub/home" in page.url:
        page.goto(urllib.parse.urljoin(stack.url, "hub/spawn"))
    page.wait_for_selector("#spawn_form input[name=profile]")
    screenshot(page, "02-profiles")
    assert page.locator("input[name=profile]").count() >= 2


def test_3_what_pbs_rejects_is_said_in_its_own_words(stack, page):
    page.check("input[name=profile][value=too-long]")
    page.click("#spawn_form [type=submit]")
    page.wait_for_selector("text=Job violates queue and/or server resource limits")
    screenshot(page, "03-rejected")
    # Nothing is left of it, and the form is there again.
    page.goto(urllib.parse.urljoin(stack.url, "hub/spawn"))
    page.wait_for_selector("#spawn_form input[name=profile]")


def test_4_the_job_is_seen_queued_then_running(stack, page):
    page.check("input[name=profile][value=interactive]")
    page.click("#spawn_form [type=submit]")
    page.wait_for_url(re.compile(r"/hub/spawn-pending/"))
    page.wait_for_selector("#progress-message:has-text('queue')")
    screenshot(page, "04-queued")
    page.wait_for_url(re.compile(r"/user/[^/]+/lab"), timeout=120_000)
    page.wait_for_selector("#jp-main-dock-panel", timeout=90_000)
    assert [job["job_state"] for job in qstat(stack)["Jobs"].values()] == ["R"]


def test_5_the_job_carries_no_secret_and_nothing_of_the_hub(stack):
    jobs = qstat(stack)["Jobs"]
    assert jobs, "the hub's job is visible in qstat"
    text = json.dumps(jobs)
    assert stack.password not in text
    for word in ["JUPYTERHUB", "CONFIGPROXY", "JPY_", "api_token", "NUNA_SERVICE_TOKEN"]:
        assert word.lower() not in text.lower(), word
    # The launcher's arguments are readable by everybody on the node.
    for process in stack.processes():
        assert stack.password not in process


def run_cells(page, wanted: range) -> None:
    """Runs code cells by number, as Shift+Enter does, each when the one before it is done."""
    for number in wanted:
        cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number)
        cell.scroll_into_view_if_needed()
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        prompt = cell.locator(".jp-InputArea-prompt")
        deadline = time.monotonic() + 120
        while not re.search(r"\[\d+\]", prompt.inner_text()):
            assert time.monotonic() < deadline, f"cell {number} does not end: {cell.inner_text()}"
            time.sleep(0.1)
        error = cell.locator("[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']")
        assert error.count() == 0, error.all_inner_texts()


def test_6_the_tutorial_opens_and_starts_its_cluster(stack, page):
    page.wait_for_selector(".jp-FileBrowser, .jp-NotebookPanel")
    page.goto(urllib.parse.urljoin(stack.url, f"user/{stack.user}/lab/tree/first-cluster.ipynb?reset"))
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=90_000)
    # JupyterLab runs nothing, and says nothing, until the kernel is connected.
    page.wait_for_selector("text='Nuna (Rust) | Idle'", timeout=60_000)
    screenshot(page, "05-lab")
    run_cells(page, range(0, 2))
    screenshot(page, "06-cluster")


def test_7_the_panels_draw_the_clusters_tasks(stack, page):
    page.locator(".lm-TabBar-tab[title='Nuna clusters'], [data-id^=nuna]").first.click()
    card = page.locator(".nuna-card").first
    card.wait_for()
    card.get_by_role("button", name="Open all").click()
    page.locator(".nuna-plot").first.wait_for()
    before = page.locator(".nuna-plot").first.evaluate(DRAWN)
    run_cells(page, range(2, 6))
    deadline = time.monotonic() + 90
    while page.locator(".nuna-plot").first.evaluate(DRAWN) <= max(before, 1):
        assert time.monotonic() < deadline, "no task rectangles were drawn"
        time.sleep(0.2)
    screenshot(page, "07-task-stream")
    # As one would look at it: the map in the notebook, its tasks beside it, larger.
    for _ in range(3):
        page.locator(".nuna-taskstream").locator("button:text-is('+')").click()
    page.locator(".jp-Notebook .jp-CodeCell").nth(3).scroll_into_view_if_needed()
    screenshot(page, "07-plot-and-tasks")


def test_8_every_other_cell_of_the_tutorial_runs(stack, page):
    run_cells(page, range(6, page.locator(".jp-Notebook .jp-CodeCell").count()))
    screenshot(page, "08-notebook")
    home = stack.state / "homes" / stack.user
    assert (home / "climatology.zarr").is_dir()


def test_9_killed_parts_come_back_and_the_server_lives(stack, page):
    before = {name: job["job_state"] for name, job in qstat(stack)["Jobs"].items()}
    for number, command in enumerate(["nuna-spawner serve", "bin/jupyterhub -f"], start=1):
        (process,) = [process for process in stack.processes() if command in process]
        os.kill(int(process.split()[0]), signal.SIGKILL)
        stack.wait_for(r"(started again[\s\S]*){%d}" % number, 30)
    stack.wait_until_healthy(60)
    page.goto(urllib.parse.urljoin(stack.url, "hub/home"))
    page.wait_for_selector("#stop")
    assert {name: job["job_state"] for name, job in qstat(stack)["Jobs"].items()} == before
    page.goto(urllib.parse.urljoin(stack.url, f"user/{stack.user}/lab"))
    page.wait_for_selector("#jp-main-dock-panel", timeout=60_000)
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    screenshot(page, "09-after-crashes")


def test_10_the_page_of_the_stopped_server_offers_a_new_one(stack, page):
    page.goto(urllib.parse.urljoin(stack.url, "hub/home"))
    page.click("#stop")
    page.wait_for_selector("#start:has-text('Start')", timeout=60_000)
    screenshot(page, "10-stopped")
    assert all(job["job_state"] == "F" for job in qstat(stack)["Jobs"].values())


def test_11_control_c_leaves_no_process(stack):
    assert stack.processes(), "the stack was running"
    stack.interrupt()
    deadline = time.monotonic() + 60
    while stack.processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert stack.processes() == []
