#!/usr/bin/env python3
"""Runs a program bare and preloaded and asks for the same output, byte for byte.

same.py LIBRARY DRIVER_FOLDER [NAME=VALUE ...] [/ NAME=VALUE ...] -- PROGRAM [ARGUMENT ...]
Settings behind a / are those of one more preloaded run: of a program whose output is the same however it
is run. What the simulated device says of misuse and races must be the same as well. With WANT=<counter> in the
environment each preloaded run must also have counted some of it: a run in which nothing was deferred proves nothing.
"""
import collections
import os
import re
import subprocess
import sys
import tempfile

from counted import counters


def run(command, env):
    """Its status, output, what it said, and the library's counters."""
    with tempfile.TemporaryDirectory() as tmp:
        p = subprocess.run(command, env={**env, "DLACCEL_DIR": tmp}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return p.returncode, p.stdout, p.stderr.decode(errors="replace"), counters(tmp)


def first_difference(a, b):
    for i, (x, y) in enumerate(zip(a.splitlines(), b.splitlines())):
        if x != y:
            return f"line {i + 1}: bare {x!r}, preloaded {y!r}"
    return f"{len(a)} bytes bare, {len(b)} preloaded"


def told(text):
    """What the simulated device has said, without the addresses."""
    return collections.Counter(re.sub(r"0x\w+", "", line) for line in text.splitlines() if line.startswith("simcuda:"))


def groups(settings):
    """One dictionary for each preloaded run."""
    found = [{}]
    for s in settings:
        if s == "/":
            found.append({})
        else:
            name, value = s.split("=", 1)
            found[-1][name] = value
    return found


def wrong(bare, preloaded, wanted):
    if bare[0] or preloaded[0]:
        print(f"exit status bare {bare[0]}, preloaded {preloaded[0]}\n{bare[2]}{preloaded[2]}")
        return 1
    if bare[1] != preloaded[1]:
        print(first_difference(bare[1], preloaded[1]))
        return 1
    if told(bare[2]) != told(preloaded[2]):
        print("said bare and not preloaded, and the other way round:", told(bare[2]) - told(preloaded[2]),
              told(preloaded[2]) - told(bare[2]), sep="\n")
        return 1
    for name in wanted:
        if not preloaded[3].get(name):
            print(f"nothing counted as {name}: this run proves nothing\n{preloaded[3]}")
            return 1
    print(f"{len(bare[1].splitlines())} lines the same", flush=True)
    return 0


def main():
    split = sys.argv.index("--")
    library, driver, *settings = sys.argv[1:split]
    command = sys.argv[split + 1:]
    env = dict(os.environ, LD_LIBRARY_PATH=driver)
    wanted = env.pop("WANT", "").split()
    env.pop("LD_PRELOAD", None)
    bare = run(command, {**env, **groups(settings)[0]})
    return any(wrong(bare, run(command, {**env, **more, "LD_PRELOAD": library}), wanted) for more in groups(settings))


sys.exit(main())
