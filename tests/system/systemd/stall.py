"""Stops one thread of a process, as if its loop hung, while the others go on.

    stall.py PID THREAD

Holds it (ptrace(2), PTRACE_SEIZE and PTRACE_INTERRUPT) until the process ends.
"""

import ctypes
import pathlib
import sys
import time

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207

process, thread = pathlib.Path("/proc", sys.argv[1]), sys.argv[2]
tid = next(int(task.name) for task in (process / "task").iterdir() if (task / "comm").read_text().strip() == thread)
libc = ctypes.CDLL(None, use_errno=True)
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, tid, None, None) != 0:
        sys.exit(f"ptrace: errno {ctypes.get_errno()}")
print(f"stalled {thread}", flush=True)
while (process / "task" / str(tid)).exists():
    time.sleep(0.1)
