# SPDX-License-Identifier: GPL-2.0
"""Guests as jobs of a pipeline."""
import os


def room():
    """How many guests can run at once: each takes up to 4 GB. One more than processors, as most of them wait."""
    return max(1, min(os.cpu_count() + 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 32))


def guest(job, name, kernel, command, *options, append=""):
    """Boot a guest, with the command's output in build/logs/<name>.out; give that output and 1 if it failed."""
    log, seen = f"build/logs/{name}", {"program": "boot", "passed": 0, "broken": False}
    with open(f"{log}.out", "w") as out:
        def line(text):
            if text.startswith("boot: error"):
                seen["broken"] = True
            if seen["broken"]:
                job.say(text)
                return
            out.write(text + "\n")
            if text.startswith("# program "):
                seen["program"] = text.partition(":")[2]
            seen["passed"] += text.startswith("ok ") and " # SKIP" not in text
            job.status = f"{seen['program']}, {seen['passed']} passed"

        status = job.run("workbench/boot", "--kernel", kernel, "--log", log, "--append", append,
                         *options, command, line=line)
    if status and not seen["broken"]:
        job.say(f"not ok the guest ended with status {status}")
    with open(f"{log}.out", errors="replace") as f:
        return f.read(), int(status != 0)
