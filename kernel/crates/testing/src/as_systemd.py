"""Starts a program as systemd does: its sockets are 3 and so on, and it is told their names and its own number.

as_systemd.py NAME=DESCRIPTOR... -- PROGRAM ARGUMENT...
"""

import ctypes
import fcntl
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

end = sys.argv.index("--")
sockets = [word.rpartition("=") for word in sys.argv[1:end]]
kept = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for _, _, number in sockets]
for number, descriptor in enumerate(kept, 3):
    os.dup2(descriptor, number)
    os.close(descriptor)
os.environ["LISTEN_FDS"] = str(len(sockets))
os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _, _ in sockets)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.argv[end + 1], sys.argv[end + 1 :])
