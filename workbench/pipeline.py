# SPDX-License-Identifier: GPL-2.0
"""Run jobs side by side, and show what each of them does.

A job starts when the jobs that it needs have ended well and there is room for
another of its kind. What it says is printed with its name in front. What it
does right now is one updating line on a terminal, and a line for each job every
30 s elsewhere. A child shows that by a line that begins with a carriage return:
see workbench/step.
"""
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

EVERY = 30  # seconds between two lines about a job, where that is not a terminal


class Failed(Exception):
    """Why a job failed; what else there is to say was said."""


class Runner:
    """Who has run() can need()."""

    def need(self, *command):
        if self.run(*command):
            raise Failed(" ".join(command[:3]) + " failed")


class Job(Runner):
    """A name and something to do, on a thread of its own."""

    def __init__(self, pipeline, name, kind, needs, action):
        self.pipeline, self.name, self.kind, self.needs, self.action = pipeline, name, kind, needs, action
        self.state, self.status, self.start, self.result, self.children = "waiting", "", 0.0, None, set()

    def say(self, text):
        self.pipeline.show(self.name, text)

    def run(self, *command, line=None):
        """Run a command that explains its own failures; line() sees each line of its output."""
        with self.pipeline.lock:
            if self.pipeline.stopped:
                raise Failed("interrupted")
            nice = ["nice"] if self.kind in self.pipeline.nice else []
            child = subprocess.Popen([*nice, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, start_new_session=True,
                                     env={**os.environ, "WORKBENCH_STATUS": "1"})
            self.children.add(child)
        with child:
            for raw in child.stdout:
                text = raw.decode(errors="replace").rstrip("\n")
                if text.startswith("\r"):
                    self.status = text[1:]
                else:
                    (line or self.say)(text)
        self.children.discard(child)
        if self.pipeline.stopped:
            raise Failed("interrupted")
        return child.returncode

    def body(self):
        try:
            self.result = self.action(self)
            state = "done"
        except Failed as e:
            self.say(f"FAILED: {e}")
            state = "failed"
        except BaseException as e:  # a fault of the workbench, not of what it tests
            self.say(f"FAILED: {type(e).__name__}: {e}")
            state = "failed"
            raise
        finally:
            with self.pipeline.lock:
                self.state = state
                self.pipeline.changed.notify_all()


class Pipeline:
    """Jobs in the order of their importance; limits tells how many of a kind run at once, nice which give way."""

    def __init__(self, limits, nice=()):
        self.limits, self.nice, self.jobs, self.stopped = limits, nice, [], False
        self.wrong = []     # what show() was told of failures, to be said once more at the end
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.tty = sys.stdout.isatty()
        self.told = self.start = time.monotonic()

    def add(self, name, kind, needs, action):
        self.jobs.append(Job(self, name, kind, needs, action))

    def show(self, name, text):
        with self.lock:
            print(("\r\033[K" if self.tty else "") + f"{name}: {text}", flush=True)
            if text.startswith(("not ok ", "FAILED: ")) or text.endswith("the kernel reports trouble:"):
                self.wrong.append(f"{name}: {text}")

    def busy(self):
        return [job for job in self.jobs if job.state == "running"]

    def progress(self):
        """What the jobs do now, where nobody would see it otherwise."""
        now = time.monotonic()
        if self.tty:
            width = shutil.get_terminal_size().columns - 1
            line = f"{now - self.start:.0f} s  " + "  |  ".join(
                f"{job.name}: {job.status}" for job in self.busy())
            print(f"\r{line[:width]:<{width}}", end="", flush=True)
        elif now - self.told >= EVERY:
            self.told = now
            for job in self.busy():
                print(f"{job.name}: ... {now - job.start:.0f} s{job.status and ', ' + job.status}", flush=True)

    def begin(self):
        """Start what can start."""
        state = {job.name: job.state for job in self.jobs}
        for job in self.jobs:
            if job.state != "waiting":
                continue
            bad = [name for name in job.needs if state[name] in ("failed", "not run")]
            if bad:
                job.state = state[job.name] = "not run"
                self.show(job.name, f"not run, because of {', '.join(bad)}")
            elif all(state[name] == "done" for name in job.needs) and \
                    sum(job.kind == other.kind for other in self.busy()) < self.limits[job.kind]:
                job.state, job.start = "running", time.monotonic()
                threading.Thread(target=job.body, daemon=True).start()

    def stop(self):
        """End what runs: each child has a session of its own, and ends its own children."""
        with self.lock:
            self.stopped = True
            children = [child for job in self.jobs for child in job.children]
        for child in children:
            try:
                os.killpg(child.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        for child in children:
            child.wait()

    def run(self):
        """Until no job is left; give the results of those that ended well, by name."""
        try:
            with self.lock:
                while True:
                    self.begin()
                    if not self.busy():
                        break
                    self.changed.wait(0.5)
                    self.progress()
        except BaseException:
            self.stop()
            raise
        finally:
            if self.tty:
                print("\r\033[K", end="", flush=True)
        return {job.name: job.result for job in self.jobs if job.state == "done"}
