"""From login to dashboard, as a scientist does it, in Chromium against everything that `cargo xtask up` starts."""

import json
import os
import re
import subprocess
import time
import urllib.parse

import pytest

from conftest import REPOSITORY, screenshot


def qstat(stack) -> dict:
    """What any user of the batch system sees of all jobs."""
    output = subprocess.run(
        [REPOSITORY / "build/bin/qstat", "-x", "-f", "-F", "json"],
        env=dict(os.environ, NUNA_PBS_DIR=str(stack.state / "up/pbs")),
        capture_output=True, text=True, timeout=30,
    )
    return json.loads(output.stdout)


def test_1_wrong_password_is_refused(stack, page):
    page.goto(stack.url)
    page.fill("#username_input", stack.user)
    page.fill("#password_input", "not-the-password")
    page.click("#login_submit")
    page.wait_for_selector("text=/invalid|incorrect|wrong/i")
    screenshot(page, "01-wrong-password")


def test_2_sign_in_shows_the_profiles(stack, page):
    page.goto(stack.url)
    page.fill("#username_input", stack.user)
    page.fill("#password_input", stack.password)
    page.click("#login_submit")
    page.wait_for_url(re.compile(r"/hub/(spawn|home)"))
    if "/hub/home" in page.url:
        page.goto(urllib.parse.urljoin(stack.url, "/hub/spawn"))
    page.wait_for_selector("form#spawn_form")
    screenshot(page, "02-profiles")
    assert page.locator("input[name=profile]").count() >= 2


def test_3_job_is_seen_queued_then_running(stack, page):
    page.locator("input[name=profile]").first.check()
    page.click("#spawn_form [type=submit]")
    page.wait_for_url(re.compile(r"/hub/spawn-pending/"))
    page.wait_for_selector("#progress-message:has-text('queued')", timeout=30_000)
    screenshot(page, "03-queued")
    page.wait_for_url(re.compile(r"/user/[^/]+/lab"), timeout=120_000)
    page.wait_for_selector("#jp-main-dock-panel", timeout=90_000)
    screenshot(page, "04-lab")


def test_4_job_carries_no_secret(stack):
    jobs = qstat(stack)["Jobs"]
    assert jobs, "the hub's job is visible in qstat"
    text = json.dumps(jobs)
    assert stack.password not in text
    for word in ["JUPYTERHUB_API_TOKEN", "CONFIGPROXY_AUTH_TOKEN", "JPY_API_TOKEN", "JUPYTERHUB_CRYPT_KEY", "JUPYTERHUB_"]:
        assert word not in text, word


def test_5_every_cell_of_the_tutorial_runs_and_tasks_are_drawn(stack, page):
    page.goto(urllib.parse.urljoin(stack.url, f"/user/{stack.user}/lab/tree/first-cluster.ipynb?reset"))
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell", timeout=90_000)
    page.wait_for_function("() => window.jupyterapp !== undefined")
    # The extension's own command opens the task stream beside the notebook.
    page.evaluate("() => window.jupyterapp.commands.execute('nuna:open-task-stream').catch(e => String(e))")
    page.click(".jp-NotebookPanel .jp-Notebook")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    # All code cells have a number once the last one has run; the cluster is shut down by the last cell,
    # so the rectangles are looked at while the computation goes on.
    page.wait_for_function(
        "() => [...document.querySelectorAll('.nuna-task-stream')].some(e => Number(e.dataset.taskCount) > 0)",
        timeout=240_000,
    )
    screenshot(page, "05-task-stream")
    page.wait_for_function(
        """() => { const cells = [...document.querySelectorAll('.jp-NotebookPanel .jp-CodeCell .jp-InputPrompt')];
                   return cells.length && cells.every(e => /\\[\\d+\\]/.test(e.textContent)); }""",
        timeout=240_000,
    )
    screenshot(page, "06-notebook")
    errors = page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr'], .jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")
    assert errors.count() == 0, errors.all_inner_texts()


def test_6_everything_stops_on_control_c(stack):
    assert stack.processes(), "the stack was running"
    stack.interrupt()
    deadline = time.monotonic() + 20
    while stack.processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert stack.processes() == []
