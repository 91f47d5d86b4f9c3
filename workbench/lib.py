# SPDX-License-Identifier: GPL-2.0
"""What workbench/lib.sh has, for the scripts in Python."""
import fcntl
import os
import signal
import sys


def lock():
    """One at a time in build/; what the holder of the lock starts works under it. Keep the result."""
    if "WORKBENCH_LOCK" in os.environ:
        return None
    held = open("build/.lock", "w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("== waiting for another make that works in build/", file=sys.stderr, flush=True)
        fcntl.flock(held, fcntl.LOCK_EX)
    os.environ["WORKBENCH_LOCK"] = str(os.getpid())
    return held


def on_end(handler):
    """Call it when this process is told to end, also by a terminal that goes (unless nohup)."""
    signal.signal(signal.SIGTERM, handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)


def interrupted():
    """Die of the interrupt, so that the script which started this ends, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
