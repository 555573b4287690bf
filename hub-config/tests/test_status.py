"""Words and times of a server, as pages show them."""

import time

from nuna_hub.status import Status, in_words


def test_durations_are_told_as_people_say_them():
    told = {0: "0 s", -5: "0 s", 119: "119 s", 120: "2 min", 3599: "59 min", 4200: "1 h 10 min", 7200: "2 h"}
    told |= {47 * 3600: "47 h", 50 * 3600: "2 d 2 h", 72 * 3600: "3 d"}
    assert {seconds: in_words(seconds) for seconds in told} == told


def test_the_end_is_told_while_the_job_runs_and_marked_when_it_is_near():
    now = time.time()
    status = Status({"state": "running", "ends_at": int(now + 4230), "requested_at": int(now - 300), "progress": 100})
    assert status.line == "Running, ends in 1 h 10 min" and not status.ends_soon
    assert (status.elapsed, status.progress, status.queue) == ("5 min", 100, None)
    assert Status({"state": "running", "ends_at": int(now + 600)}).ends_soon
    waiting = Status({"state": "queued", "expected_start": int(now + 630), "comment": "no cores"})
    assert (waiting.line, waiting.expected_in, waiting.comment) == ("Waiting in the queue", "in 10 min", "no cores")
    assert waiting.at("expected_start").startswith("2") and waiting.at("ends_at") == ""


def test_what_the_service_leaves_out_or_says_oddly_is_left_out():
    for odd in (None, "soon", -1, 1e300, True):
        status = Status({"state": "strange", "ends_at": odd, "progress": odd})
        assert status.ends_in in ("", "0 s") and status.line == "" and 0 <= status.progress <= 100
