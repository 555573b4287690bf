"""Seven people, one in each state of the life cycle, and what they and the hub's health are like through a fault."""

import json
import threading
import time
from dataclasses import dataclass, field

import requests
from fault_stack import PEOPLE, FaultStack
from hub import Browser, text_of
from processes import until

#: What a page has to say within this long about a part that is away.
MESSAGE_SECONDS = 20.0
HEALTH_SECONDS_MAX = 1.0
#: In the short form, which shares its machine with whatever else is tested.
HEALTH_SECONDS_MAX_SHORT = 3.0
#: A fault is over for everybody within this long after its end.
HEALED_SECONDS_MAX = 120.0
#: What is silent or away, in the words of a page; a submission may be over before anybody waits for it.
WORDS = {
    "pbs": ("PBS does not answer", "The PBS server cannot be reached"),
    "spawner": ("spawner service",),
    "directory": ("directory",),
}
#: Whose start goes through the part: they have to be told.
WAITING = {"pbs": ("submitting", "queued", "starting"), "spawner": ("submitting", "queued", "starting")}


@dataclass
class Row:
    """One fault's line in the table."""

    part: str
    fault: str
    seconds: float
    outcomes: dict[str, str] = field(default_factory=dict)
    health: float = 0.0
    healed: float = 0.0
    said: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


ROWS: list[Row] = []


def table() -> str:
    heads = ["part", "fault", *PEOPLE, "slowest health", "healed after", "first word about it"]
    lines = ["", "| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in ROWS:
        said = "; ".join(f"{who}: {words}" for who, words in row.said.items()) or "-"
        cells = [row.part, f"{row.fault} {row.seconds:g} s", *(row.outcomes.get(who, "?") for who in PEOPLE)]
        cells += [f"{row.health:.3f} s", f"{row.healed:.1f} s", said]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


class Watch:
    """Repeats a question on a thread until it is told to end."""

    def __init__(self, ask, pause: float):
        self._ask, self._pause = ask, pause
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._ask()
            self._ended.wait(self._pause)


class Person:
    """Somebody at the hub: a session, a home, and what the page of a start has said so far."""

    def __init__(self, stack: FaultStack, name: str):
        self.stack, self.name = stack, name
        self.home = stack.folder / "homes" / name
        self.browser = Browser(stack.hub)
        self.messages: list[tuple[float, str]] = []
        #: Straight to the hub: what its pages say does not depend on the proxy.
        self.hub_url = f"http://127.0.0.1:{stack.hub_port}"

    def sign_in(self) -> tuple[float, requests.Response | None, str]:
        begun = time.monotonic()
        browser = Browser(self.stack.hub)
        try:
            page = browser.sign_in(self.name, self.stack.password(self.name))
        except requests.RequestException as error:
            return time.monotonic() - begun, None, type(error).__name__
        if page.status_code == 200 and "/hub/login" not in page.url:
            self.browser = browser
        return time.monotonic() - begun, page, text_of(page.text)

    def ask_for_a_server(self, profile: str) -> requests.Response:
        return self.browser.api("POST", f"/users/{self.name}/server", json={"profile": profile})

    def ask_to_stop(self) -> requests.Response:
        return self.browser.api("DELETE", f"/users/{self.name}/server")

    def server(self) -> dict | None:
        """None also while the hub gives no answer."""
        try:
            return self.browser.server(self.name)
        except (requests.RequestException, ValueError):
            return None

    def pid(self) -> int | None:
        """Of the process that answers as this person's server through the proxy."""
        try:
            answer = requests.get(f"{self.stack.hub.url}/user/{self.name}/", timeout=5, allow_redirects=False)
            return answer.json()["pid"] if answer.status_code == 200 else None
        except (requests.RequestException, ValueError, KeyError):
            return None

    def follow(self) -> None:
        """Reads the page's events, once; what ends the stream is the caller's business."""
        url = f"{self.hub_url}/hub/api/users/{self.name}/server/progress"
        try:
            cookies = self.browser.cookies()
            with requests.get(url, cookies=cookies, stream=True, timeout=(5, 30), headers=self.browser.headers()) as answer:
                if answer.status_code != 200:
                    return
                for line in answer.iter_lines():
                    if line.startswith(b"data: "):
                        self.messages.append((time.monotonic(), json.loads(line[6:]).get("message", "")))
        except (requests.RequestException, ValueError):
            return


class Scene:
    """One fault: brings people to their states, strikes, heals, and judges."""

    def __init__(self, stack: FaultStack, part: str, fault: str, seconds: float):
        self.stack, self.part, self.fault, self.seconds = stack, part, fault, seconds
        self.people = {name: Person(stack, name) for name in PEOPLE}
        self.row = Row(part, fault, seconds)
        self.job_of: dict[str, str] = {}
        self.pid_of_running: int | None = None
        self.gaps: list[float] = []
        self.stop_answered = False
        self.asked_again = False
        self.struck = self.healed_at = 0.0

    def play(self) -> Row:
        self._prepare()
        watches = self._watch()
        try:
            self._strike()
            self._heal()
            self._judge()
        finally:
            for watch in watches:
                watch.end()
        self._tell()
        self._leave()
        ROWS.append(self.row)
        return self.row

    # Before

    def _prepare(self) -> None:
        people = self.people
        for name in PEOPLE[:-1]:
            took, page, words = people[name].sign_in()
            assert page is not None and page.status_code == 200 and "Sign in" not in words, words
            for mark in ("hold", "stubborn"):
                (people[name].home / mark).unlink(missing_ok=True)
        (people["starting"].home / "hold").write_text("")
        (people["stopping"].home / "stubborn").write_text("")
        self.stack.block_the_large_node()
        askers = [("running", "small"), ("stopping", "small"), ("starting", "small"), ("queued", "large")]
        self._at_once([lambda who=who, what=what: people[who].ask_for_a_server(what) for who, what in askers])
        people["failed"].ask_for_a_server("greedy")
        for who in ("running", "stopping"):
            people[who].browser.wait_ready(who)
        until(lambda: people["failed"].server() is None, "the refused server to be gone")
        until(self._jobs_stand, "jobs that run and wait", evidence=self.stack.logs)
        self.pid_of_running = people["running"].pid()
        assert self.pid_of_running, "the server does not answer"

    def _jobs_stand(self) -> bool:
        jobs = self._jobs()
        self.job_of = {job["Variable_List"].get("NUNA_PBS_USER", job["Job_Owner"].split("@")[0]): name
                       for name, job in jobs.items()}
        states = {who: jobs[name]["job_state"] for who, name in self.job_of.items()}
        wanted = {"running": "R", "stopping": "R", "starting": "R", "queued": "Q"}
        return states == wanted

    def _jobs(self) -> dict[str, dict]:
        return {name: job for name, job in self.stack.living_jobs().items() if job["Job_Name"] != "blocker"}

    def _watch(self) -> list[Watch]:
        last = [time.monotonic()]

        def health() -> None:
            begun = time.monotonic()
            try:
                url = f"http://127.0.0.1:{self.stack.hub_port}/hub/health"
                healthy = requests.get(url, timeout=10).status_code == 200
            except requests.RequestException:
                healthy = False
            took = time.monotonic() - begun
            # A hub that is itself killed or stopped answers nobody; what counts is the rest of the time.
            if self.part == "hub" and self.fault != "cut" and self._is_in_fault(begun):
                return
            self.row.health = max(self.row.health, took)
            if not healthy:
                self.row.problems.append(f"no health {begun - self.struck:.1f} s after the fault began")

        def alive() -> None:
            if self.people["running"].pid() == self.pid_of_running:
                last[0] = time.monotonic()
            self.gaps.append(time.monotonic() - last[0])

        watches = [Watch(health, 0.15), Watch(alive, 0.3)]
        for who in ("queued", "starting", "submitting"):
            watches.append(Watch(self.people[who].follow, 0.3))
        return watches

    def _is_in_fault(self, moment: float) -> bool:
        if not self.struck or moment < self.struck - 0.5:
            return False
        return not self.healed_at or moment < self.healed_at

    # During

    def _strike(self) -> None:
        people = self.people
        stop = threading.Thread(target=self._quietly(self._stop), daemon=True)
        ask = threading.Thread(target=self._quietly(lambda: people["submitting"].ask_for_a_server("small")), daemon=True)
        stop.start()
        ask.start()
        # Both are on their way, and neither is through.
        time.sleep(0.1)
        self.struck = time.monotonic()
        self.stack.strike(self.part, self.fault)
        came: list = []
        newcomer = threading.Thread(target=lambda: came.append(people["newcomer"].sign_in()), daemon=True)
        newcomer.start()
        third = self.seconds / 3
        time.sleep(third)
        # Servers come up and jobs start while the part is away.
        (people["starting"].home / "hold").unlink()
        (self.stack.folder / "blocker").unlink()
        time.sleep(max(0.0, self.struck + self.seconds - time.monotonic()))
        self._newcomer, self._came = newcomer, came

    def _stop(self) -> None:
        self.stop_answered = self.people["stopping"].ask_to_stop().ok

    def _heal(self) -> None:
        begun = time.monotonic()
        self.stack.heal(self.part, self.fault)
        if self.part == "hub" and self.fault == "killed":
            until(lambda: self._answers(), "the hub", evidence=self.stack.logs)
        self.healed_at = time.monotonic()
        self._began_to_heal = begun

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.stack.hub_port}/hub/health", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    # After

    def _judge(self) -> None:
        waits = {
            "running": lambda: self._runs("running"),
            "starting": lambda: self._runs("starting"),
            "queued": lambda: self._runs("queued"),
            "submitting": lambda: self._runs("submitting") or self._is_idle("submitting"),
            "stopping": self._is_stopped,
            "failed": lambda: self._is_idle("failed"),
        }
        deadline = time.monotonic() + HEALED_SECONDS_MAX
        open_ones = dict(waits)
        while open_ones and time.monotonic() < deadline:
            for who in list(open_ones):
                if open_ones[who]():
                    del open_ones[who]
                    self.row.healed = time.monotonic() - self._began_to_heal
            time.sleep(0.1)
        for who in open_ones:
            server = self.people[who].server()
            self.row.problems.append(f"{who} did not come to rest: {server}, jobs {self.job_of.get(who)}")
        for who in waits:
            self.row.outcomes[who] = self._outcome(who, who in open_ones)
        if self.people["running"].pid() != self.pid_of_running:
            self.row.problems.append("the running server is another process")
        for who in ("running", "starting", "queued"):
            if self.stack.jobs().get(self.job_of[who], {}).get("job_state") != "R":
                self.row.problems.append(f"{who} has lost its job {self.job_of[who]}")
        self._judge_newcomer()
        self._judge_orphans()
        # What runs is reached throughout, but through the proxy itself.
        longest = max(self.gaps, default=0.0)
        if self.part != "proxy" and longest > 6:
            self.row.problems.append(f"the running server was out of reach for {longest:.1f} s")
        self.row.outcomes["running"] += f", out of reach {longest:.1f} s" if longest > 1.5 else ", always in reach"

    def _runs(self, who: str) -> bool:
        server = self.people[who].server()
        return bool(server and server["ready"] and self.people[who].pid())

    def _is_idle(self, who: str) -> bool:
        """No server in the hub and no job in PBS; an answer of the hub is needed for the first."""
        try:
            if self.people[who].browser.server(who) is not None:
                return False
        except (requests.RequestException, ValueError):
            return False
        return who not in self._owners()

    def _is_stopped(self) -> bool:
        if self._is_idle("stopping"):
            return True
        is_lost = (self.part, self.fault) == ("hub", "killed") and not self.stop_answered and self._runs("stopping")
        if is_lost and not self.asked_again:
            # The hub was gone before it took the request: the person has an error page and a server, and asks again.
            self.asked_again = True
            self._quietly(self.people["stopping"].ask_to_stop)()
        return False

    def _owners(self) -> set[str]:
        return {job["Job_Owner"].split("@")[0] for job in self._jobs().values()}

    def _outcome(self, who: str, is_open: bool) -> str:
        if is_open:
            return "NOT AT REST"
        if who == "running":
            return "same job and process"
        if self._runs(who):
            return "runs" if who == "submitting" else "runs, same job"
        if who == "stopping" and self.asked_again:
            return "stop lost with the hub, gone when asked again"
        return {"submitting": "told, no job", "stopping": "gone", "failed": "stays gone"}[who]

    def _judge_newcomer(self) -> None:
        self._newcomer.join(60)
        if not self._came:
            self.row.problems.append("the newcomer's sign-in has no end")
            return
        took, page, words = self._came[0]
        if page is None:
            outcome = f"{words} after {took:.1f} s"
        elif page.status_code == 200:
            outcome = f"in after {took:.1f} s"
        else:
            outcome = f"status {page.status_code} after {took:.1f} s"
            if self.part in WORDS and self.part != "pbs":
                self._expect(any(word in words for word in WORDS[self.part]), f"the newcomer is told: {words[:200]}")
        if self.part in ("pbs", "directory", "spawner"):
            self._expect(took < MESSAGE_SECONDS, f"the newcomer waits {took:.1f} s for a word")
        again = until(lambda: self._signs_in_again(), "a sign-in after the fault", 60, evidence=self.stack.logs)
        self.row.outcomes["newcomer"] = f"{outcome}; afterwards in after {again:.1f} s"

    def _signs_in_again(self) -> float | None:
        took, page, _ = self.people["newcomer"].sign_in()
        return took if page is not None and page.status_code == 200 else None

    def _judge_orphans(self) -> None:
        def difference() -> set[str]:
            active = {name for name in PEOPLE if self.people[name].server() is not None} if self._answers() else set()
            return active ^ self._owners()

        try:
            until(lambda: not difference(), "", 30)
        except AssertionError:
            self.row.problems.append(f"servers without a job, or jobs without a server: {difference()}")

    def _tell(self) -> None:
        """Who waited for the part was told so, while it was away."""
        words = WORDS.get(self.part, ())
        for who in WAITING.get(self.part, ()):
            messages = [(at - self.struck, message) for at, message in self.people[who].messages]
            told = [at for at, message in messages if at > 0 and any(word in message for word in words)]
            if told and told[0] < self.seconds + 5:
                self.row.said[who] = f"{told[0]:.1f} s"
            elif self.seconds >= MESSAGE_SECONDS:
                said = list(dict.fromkeys(message for _, message in messages))
                self.row.problems.append(f"{who} was not told what is silent: {said}")
            if told and self.seconds >= MESSAGE_SECONDS:
                self._expect(told[0] < MESSAGE_SECONDS, f"{who} waited {told[0]:.1f} s for a word")
        limit = HEALTH_SECONDS_MAX if self.seconds >= MESSAGE_SECONDS else HEALTH_SECONDS_MAX_SHORT
        if self.row.health >= limit:
            self.row.problems.append(f"/hub/health took {self.row.health:.2f} s")

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.row.problems.append(problem)

    def _leave(self) -> None:
        """Everybody stops; the next fault finds nothing."""
        (self.stack.folder / "blocker").unlink(missing_ok=True)
        for name in PEOPLE:
            for mark in ("hold", "stubborn"):
                (self.people[name].home / mark).unlink(missing_ok=True)
        active = [who for who in PEOPLE[:-1] if self.people[who].server() is not None]
        self._at_once([lambda who=who: self.people[who].ask_to_stop() for who in active])
        for who in active:
            self.people[who].browser.wait_stopped(who)
        until(lambda: not self.stack.living_jobs(), "all jobs to end", evidence=self.stack.logs)

    @staticmethod
    def _at_once(calls) -> None:
        threads = [threading.Thread(target=call, daemon=True) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    @staticmethod
    def _quietly(call):
        def quiet() -> None:
            try:
                call()
            except requests.RequestException:
                pass

        return quiet
