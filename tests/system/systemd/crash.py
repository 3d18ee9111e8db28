#!/usr/bin/env python3
"""Kills a netd whose accept queues are full, and goes on connecting.

usage: crash.py PORT|PATH PID TEXT

Every connection that completes must be greeted with TEXT, and none refused.
"""
import os
import signal
import socket
import sys
import time

place, pid, text = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
waiting, refused, lost = [], 0, 0


def connect():
    global refused
    try:
        if place.startswith("/"):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(30)
            client.connect(place)
        else:
            client = socket.create_connection(("127.0.0.1", int(place)), timeout=30)
        waiting.append(client)
    except (ConnectionRefusedError, FileNotFoundError):
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
