# SPDX-License-Identifier: GPL-2.0
"""What a run of tests has to show before it has passed.

Results are {program: {test: (result, why)}}, a result "pass", "fail" or "skip".
Each program that was asked for must report, and each skip must stand in a list
in workbench/skips, with the reason: one "program test: reason" a line. A line
that begins with "? " is of a test that skips at times. A skip that is not in the
list is a failure, and so is a line there whose test was not skipped. A line that
begins with "! " is of a test that must fail: it shows a bug of that kernel.

The test of a line can be a shell pattern: at least one test that ran must match
it, and what the line says must hold for each that does. It is a failure if two
lines name the same test.
"""
import fnmatch
import json
import re

NOT_A_TEST = "(the program)"


def ktap(text):
    """Results in the output of guest/kselftest."""
    results, program, before, tests = {}, None, {}, {}
    for line in text.replace("\r", "").split("\n"):
        if line.startswith("# program "):
            program = ":".join(line[10:].split(":")[:2])    # without the test, where one was named
            before, tests = results.get(program, {}), {}
            results[program] = {**before, NOT_A_TEST: ("fail", "did not come to its end")}
        elif line.startswith("# exit ") and program:
            status = int(line[7:])
            failed = "fail" in [r for r, _ in tests.values()]
            if not tests or status not in (0, 1, 4) or (status == 1 and not failed):
                why = {0: "no test in it", 4: "skipped as a whole", 124: "took too long"}
                tests[NOT_A_TEST] = ("fail", why.get(status, f"exit status {status}"))
            results[program], program = {**before, **tests}, None
        else:
            found = re.match(r"(not )?ok \d+ (?:- )?([^#]*?)\s*(?:# *(\w+)\s*(.*))?$", line)
            if found:
                bad, name, word, why = found.groups()
                result = "skip" if word == "SKIP" else "fail" if bad else "pass"
                tests[name] = (result, why or "")
    return results


def kunit(path):
    """Results in what "kunit.py parse --json" wrote."""
    with open(path) as f:
        groups = json.load(f).get("sub_groups", [])
    names = {"PASS": "pass", "SKIP": "skip"}
    results = {}
    for group in groups:
        tests = results.setdefault(group["name"], {})
        for case in group.get("test_cases", []):
            tests[case["name"]] = (names.get(case["status"], "fail"), case["status"])
    return results


def allowed(path):
    """A list of skips: {(program, pattern): (mark, reason)}; the mark is "", "?" or "!"."""
    skips = {}
    with open(path) as f:
        for line in f:
            found = re.match(r"(?:([?!]) )?(\S+) (\S+): (\S.*)$", line)
            if found:
                skips[found[2], found[3]] = (found[1] or "", found[4])
            elif line.strip() and not line.startswith("#"):
                raise ValueError(f'{path}: not "[?! ]program test: reason": {line.strip()}')
    return skips


def lines_of(skips, program, test):
    """The lines of a list of skips that name a test; none names the program as such."""
    return [line for line in skips
            if line[0] == program and test != NOT_A_TEST and fnmatch.fnmatchcase(test, line[1])]


def judge(results, wanted, skips, say):
    """Count results of the programs that were wanted; say() is told what is wrong."""
    total = {"passed": 0, "failed": 0, "skipped": 0, "skips": []}

    def bad(text):
        total["failed"] += 1
        say(f"not ok {text}")

    for program in wanted:
        if not results.get(program):
            bad(f"{program}: did not report a test")
    if not any(results.values()):
        bad("no test ran")
    skips = {key: value for key, value in skips.items() if key[0] in wanted}
    used = set()
    for program, tests in results.items():
        for test, (result, why) in tests.items():
            lines = lines_of(skips, program, test)
            used.update(lines)
            mark, reason = skips[lines[0]] if lines else ("?", None)
            if len(lines) > 1:
                bad(f"{program} {test}: in a list of skips, {len(lines)} lines name it")
            elif mark == "!" and result == "fail":
                total["passed"] += 1
            elif mark == "!":
                bad(f"{program} {test}: {result}, and a list of skips says that it must fail ({reason})")
            elif result == "fail":
                bad(f"{program} {test} {why}")
            elif result == "skip" and not reason:
                bad(f"{program} {test}: skipped ({why or 'no reason given'}), which no list of skips allows")
            elif result == "skip":
                total["skipped"] += 1
                total["skips"].append(f"{program} {test}: {reason}")
            elif mark != "?":
                bad(f"{program} {test}: passed, and a list of skips says that it cannot ({reason})")
            else:
                total["passed"] += 1
    for (program, test), (mark, _) in skips.items():
        if mark != "?" and (program, test) not in used:
            bad(f"{program} {test}: is in a list of skips, and did not run")
    return total


def add(total, part):
    return {key: total[key] + part[key] for key in ("passed", "failed", "skipped", "skips")}


def compare(programs, before, after, say):
    """Results of two kernels as one: a test passes that passes on both; say() gets a line for each test."""
    merged = {}
    for program in programs:
        old, new = before.get(program, {}), after.get(program, {})
        tests = merged[program] = {}
        for test in sorted({*old, *new}):
            (was, why), (now, _) = (side.get(test, ("missing", "")) for side in (old, new))
            say(f"{was:8}{now:8}{program} {test}")
            if was != now:
                tests[test] = ("fail", f"{was} on stock, {now} on patched")
            else:
                tests[test] = ("pass", "") if now == "pass" else \
                              ("skip", "fails on both kernels" if now == "fail" else why)
    return merged


def finish(total, wrong=()):
    """The last lines of a run; true if it failed."""
    for skip in total["skips"]:
        print(f"skipped: {skip}")
    for text in wrong:
        print(f"failed: {text}")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return bool(total["failed"])
