from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable

from tinygrad_norm import forks

# The child draws from the generator that another thread of the parent was drawing from.
FORK_WHILE_A_THREAD_DRAWS = """
import os, signal, threading
from tinygrad_norm import random
ended = threading.Event()
def draw():
    while not ended.is_set():
        random.generator().standard_normal(200_000)
thread = threading.Thread(target=draw)
thread.start()
failed = 0
for _ in range(20):
    if failed:
        break
    if pid := os.fork():
        failed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    else:
        signal.alarm(5)
        random.generator().standard_normal()
        os._exit(0)
ended.set()
print("failed", failed)
"""


def test_a_fork_while_another_thread_draws_random_numbers_leaves_a_child_that_can():
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", FORK_WHILE_A_THREAD_DRAWS]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout == "failed 0\n"


def forked(child: Callable[[], int]) -> int:
    """The exit status of a child that runs `child`, and is ended after five seconds."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        os._exit(child())
    finally:
        os._exit(99)


def test_a_fork_waits_for_whoever_holds_the_lock():
    lock, inside, go = forks.free_when_forking(threading.Lock()), threading.Event(), threading.Event()

    def hold():
        with lock:
            inside.set()
            go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    threading.Timer(0.05, go.set).start()
    assert forked(lambda: int(lock.locked())) == 0
    thread.join()
    assert not lock.locked()


def test_a_lock_that_is_gone_is_forgotten():
    gc.collect()  # locks of others that are gone already
    before = len(forks._locks)
    lock = forks.free_when_forking(threading.Lock())
    assert len(forks._locks) == before + 1
    del lock
    gc.collect()
    assert len(forks._locks) == before
