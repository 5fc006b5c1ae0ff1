#!/usr/bin/env python3
"""DLACCEL_STEP_MARK: the kernel that it names begins the step, whatever the step looks like inside.

marks.py LIBRARY DRIVER_FOLDER LAUNCH
"""
import json
import os
import re
import subprocess
import sys

LIBRARY, DRIVER, LAUNCH = sys.argv[1:4]
LAUNCHES, ROUNDS = 600, 12
failed = 0


def run(**settings):
    env = dict(os.environ, LD_LIBRARY_PATH=DRIVER, **settings)
    env.pop("LD_PRELOAD", None)
    if settings:
        env["LD_PRELOAD"] = LIBRARY
    p = subprocess.run([LAUNCH, "inner", str(LAUNCHES), str(ROUNDS)], env=env, check=True, timeout=60,
                       capture_output=True, text=True)
    counted = {k: int(v) for k, v in re.findall(r"^(cuda\.\w+) (\d+)$", p.stderr, re.M)}
    return json.loads(p.stdout)["memory"], counted, p.stderr


def check(what, got, want):
    global failed
    if got != want:
        print(f"{what}: {got}, not {want}")
        failed += 1


def main():
    bare, _, _ = run()
    for pattern in ("^spin$", "sp(a|i)n"):
        memory, counted, _ = run(DLACCEL_STEP_MARK=pattern)
        check(f"{pattern}: memory", memory, bare)
        # The very first launch of a kernel goes straight to the driver.
        check(f"{pattern}: marks", counted.get("cuda.marks"), ROUNDS - 1)
        check(f"{pattern}: operations of a step", counted.get("cuda.step_operations"), LAUNCHES)
        # Steps lie between marks, and the first two marks only say that there are any.
        check(f"{pattern}: steps", counted.get("cuda.steps"), ROUNDS - 2)
    memory, counted, _ = run(DLACCEL_STEP_MARK="no kernel of this name")
    check("no such kernel: memory", memory, bare)
    check("no such kernel: marks", counted.get("cuda.marks", 0), 0)
    memory, counted, said = run(DLACCEL_STEP_MARK="(", DLACCEL_LOG="warn")
    check("no pattern: memory", memory, bare)
    check("no pattern: marks", counted.get("cuda.marks", 0), 0)
    check("no pattern: said so", "DLACCEL_STEP_MARK is no regular expression" in said, True)
    return failed != 0


sys.exit(main())
