"""Real `jupyterhub-singleuser` processes for the fake service: what PBS and the launcher do on a site."""

import asyncio
from pathlib import Path

import processes
from processes import VENV_BIN


class UserServers:
    def __init__(self, folder: Path):
        self._folder = folder
        self._processes = {}
        self._tasks = set()

    def start(self, server) -> None:
        task = asyncio.get_running_loop().create_task(self._run(server))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, server) -> None:
        process = self._processes.pop(server.id, None)
        if process is not None:
            await asyncio.to_thread(processes.end, process)

    async def stop_all(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        for process in self._processes.values():
            await asyncio.to_thread(processes.end, process)

    async def _run(self, server) -> None:
        (port,) = processes.free_ports(1)
        environment = {
            "PATH": f"{VENV_BIN}:/usr/bin:/bin",
            "HOME": str(self._folder / "home"),
            **server.request["environment"],
        }
        environment["JUPYTERHUB_SERVICE_URL"] = f"http://127.0.0.1:{port}{environment['JUPYTERHUB_SERVICE_PREFIX']}"
        command, *arguments = server.request["argv"]
        process = processes.start(
            [VENV_BIN / command, *arguments], environment, self._folder / "user-server.log", cwd=self._folder / "home"
        )
        self._processes[server.id] = process
        server.say("starting", 50, "The user server starts.")
        while not await asyncio.to_thread(processes.accepts, port):
            if process.poll() is not None:
                server.exit = process.returncode
                server.say("gone", 100, f"The user server ended with status {process.returncode}.", failed=True)
                return
            await asyncio.sleep(0.05)
        server.say("running", 100, "The user server is ready.", address={"host": "127.0.0.1", "port": port})
