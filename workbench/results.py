# SPDX-License-Identifier: GPL-2.0
"""What a run of tests has to show before it has passed.

Results are {program: {test: (result, why)}}, a result "pass", "fail" or "skip".
Each program that was asked for must report, and each skip must stand in a list
in workbench/skips, with the reason: one "program test: reason" a line. A line
that begins with "? " is of a test that skips at times. A skip that is not in the
list is a failure, and so is a line there whose test was not skipped.
"""
import json
import re

NOT_A_TEST = "(the program)"


def ktap(text):
    """Results in the output of guest/kselftest."""
    results, program, tests = {}, None, {}
    for line in text.replace("\r", "").split("\n"):
        if line.startswith("# program "):
            program, tests = line[10:], {}
            results[program] = {NOT_A_TEST: ("fail", "did not come to its end")}
        elif line.startswith("# exit ") and program:
            status = int(line[7:])
            if not tests or (status not in (0, 4) and "fail" not in [r for r, _ in tests.values()]):
                why = {0: "no test in it", 4: "skipped as a whole", 124: "took too long"}
                tests[NOT_A_TEST] = ("fail", why.get(status, f"exit status {status}"))
            results[program], program = tests, None
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
    """The list of skips in a file: {(program, test): (reason, at times?)}."""
    skips = {}
    with open(path) as f:
        for line in f:
            found = re.match(r"(\? )?(\S+) (\S+): (\S.*)$", line)
            if found:
                skips[found[2], found[3]] = (found[4], bool(found[1]))
            elif line.strip() and not line.startswith("#"):
                raise ValueError(f'{path}: not "[? ]program test: reason": {line.strip()}')
    return skips


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
    for program, tests in results.items():
        for test, (result, why) in tests.items():
            reason, at_times = skips.pop((program, test), (None, True))
            if result == "fail":
                bad(f"{program} {test} {why}")
            elif result == "skip" and not reason:
                bad(f"{program} {test}: skipped ({why or 'no reason given'}), which no list of skips allows")
            elif result == "skip":
                total["skipped"] += 1
                total["skips"].append(f"{program} {test}: {reason}")
            elif not at_times:
                bad(f"{program} {test}: passed, and a list of skips says that it cannot ({reason})")
            else:
                total["passed"] += 1
    for (program, test), (_, at_times) in skips.items():
        if not at_times:
            bad(f"{program} {test}: is in a list of skips, and did not run")
    return total


def add(total, part):
    return {key: total[key] + part[key] for key in ("passed", "failed", "skipped", "skips")}
