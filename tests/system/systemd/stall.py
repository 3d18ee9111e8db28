"""Stops one thread of a process, as if its loop hung, while the others go on.

    stall.py PID THREAD

Holds it (ptrace(2), PTRACE_SEIZE and PTRACE_INTERRUPT) until the process ends.
"""

import ctypes
import os
import pathlib
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000

process, thread = pathlib.Path("/proc", sys.argv[1]), sys.argv[2]
tid = next(int(task.name) for task in (process / "task").iterdir() if (task / "comm").read_text().strip() == thread)
libc = ctypes.CDLL(None, use_errno=True)
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, tid, None, None) != 0:
        sys.exit(f"ptrace: errno {ctypes.get_errno()}")
print(f"stalled {thread}", flush=True)
# A tracer has to take its dead threads away, else the process does not end.
ended = False
while not ended:
    _, status = os.waitpid(tid, WALL)
    ended = os.WIFEXITED(status) or os.WIFSIGNALED(status)
