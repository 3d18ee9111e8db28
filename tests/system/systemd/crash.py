#!/usr/bin/env python3
"""Kills a netd whose accept queues are full, and goes on connecting.

usage: crash.py PORT PID TEXT

Every connection that completes must be greeted with TEXT, and none refused.
"""
import os
import signal
import socket
import sys
import time

port, pid, text = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
waiting, refused, lost = [], 0, 0


def connect():
    global refused
    try:
        waiting.append(socket.create_connection(("127.0.0.1", port), timeout=30))
    except ConnectionRefusedError:
        refused += 1


os.kill(pid, signal.SIGSTOP)
for _ in range(40):
    connect()
queued = len(waiting)
os.kill(pid, signal.SIGKILL)
# Until it is started again, and a little longer.
end = time.monotonic() + 3
while time.monotonic() < end:
    connect()
    time.sleep(0.02)
for each in waiting:
    each.settimeout(30)
    try:
        received = each.recv(100)
    except OSError as error:
        received = str(error).encode()
    if received.strip() != text:
        lost += 1
print(f"{queued} queued when it was killed, {len(waiting) - queued} afterwards: {lost} lost, {refused} refused")
sys.exit(0 if lost == 0 and refused == 0 and queued == 40 else 1)
