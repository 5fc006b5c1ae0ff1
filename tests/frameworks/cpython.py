"""One module of CPython's own test suite, bare and preloaded: each test must end the same way.

A test that ends differently is repeated alone, bare and preloaded: it counts as the library's fault if it ends there even once in a
way in which no bare run has ended. Where a module's own traffic is sure to be enough for it, some must go past the kernel.
"""
import concurrent.futures
import importlib
import json
import os
import pathlib
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import pair

REPEATS = 5
# They wait for most of their time: bare and preloaded do so side by side.
WAITING = ("mp_fork", "mp_spawn", "test.test_multiprocessing_fork", "test.test_multiprocessing_spawn", "test.test_asyncio.")
# Megabytes of it do, in one connection or another.
MOVING = ("test_socket", "test_ssl", "test_asyncio")
# CPython 3.11.7 does not install these two folders, but does install the tests that they name.
STAND_INS = {"test_multiprocessing_fork": "mp_fork", "test_multiprocessing_spawn": "mp_spawn"}


def run(names, preload, seconds):
    """{test id: (outcome, why)}; a test that never ended has the outcome 'started'."""
    with tempfile.TemporaryDirectory(prefix="cpython-") as scratch:
        output = pathlib.Path(scratch, "outcomes")
        log = pathlib.Path(scratch, "log")
        env = pair.environment(preload, scratch)
        with open(log, "wb") as out:
            process = subprocess.Popen([sys.executable, pair.HERE / "cpython_run.py", output, *names], env=env,
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                code = "timed out"
                process.send_signal(signal.SIGUSR1)  # writes all stacks into the log
                time.sleep(1)
            finally:
                end_group(process)
        outcomes = read(output)
        if code != 0:
            print(f"    the run itself: {code}; {log.read_text(errors='replace')[-4000:]}")
            outcomes["(the run)"] = ("fail", str(code))
        return outcomes, pair.counters(scratch)


def end_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def read(output):
    outcomes = {}
    lines = output.read_text().splitlines() if output.exists() else []
    for row in map(json.loads, lines):
        before = outcomes.get(row["id"], ("started", ""))
        if before[0] == "started" or row["outcome"] == "fail":
            outcomes[row["id"]] = (row["outcome"], row["why"])
    return outcomes


def outcome(result, test):
    return result.get(test, ("absent", ""))[0]


def repeat(test, preload):
    result = [run([test], preload, 120)[0] for _ in range(REPEATS)]
    return [outcome(r, test) for r in result]


def differs(test, want):
    """Whether the test ends differently alone, too."""
    if test.startswith(("setUp", "tearDown", "(the run)")):
        return True
    preloaded = repeat(test, True)
    bare = repeat(test, False) if set(preloaded) != {want} else []
    print(f"    alone, bare {bare}, preloaded {preloaded}")
    return not set(preloaded) <= {want, *bare}


def parts(module):
    """A package is run file by file: one that hangs takes no other with it."""
    try:
        package = importlib.import_module(f"test.{module}")
    except ModuleNotFoundError:
        if module not in STAND_INS:
            raise
        return [importlib.import_module(STAND_INS[module]).__name__]
    names = [m.name for m in pkgutil.iter_modules(getattr(package, "__path__", [])) if m.name.startswith("test_")]
    return [f"test.{module}.{name}" for name in names] or [f"test.{module}"]


def run_both(name, seconds):
    with concurrent.futures.ThreadPoolExecutor(2 if name.startswith(WAITING) else 1) as pool:
        return pool.map(lambda preload: run([name], preload, seconds), (False, True))


def compare(name, seconds):
    """(tests that passed bare, tests that differ, bytes past the kernel)"""
    (bare, _), (preloaded, count) = run_both(name, seconds)
    totals = [outcome(bare, test) for test in bare]
    print(f"{name}: bare {totals.count('ok')} ok, {totals.count('skip')} skipped, {totals.count('fail')} failed; "
          f"preloaded {pair.summary(count)}", flush=True)
    failed = 0
    for test in sorted(set(bare) | set(preloaded)):
        want, got = outcome(bare, test), outcome(preloaded, test)
        if want == got:
            continue
        print(f"{test}: bare {want}, preloaded {got}\n{preloaded.get(test, ('', ''))[1]}", flush=True)
        failed += got == "absent" or differs(test, want)
    return totals.count("ok"), failed, pair.moved(count)


def main():
    module, seconds = sys.argv[1], int(sys.argv[2])
    pair.library()
    try:
        names = parts(module)
    except ImportError as error:
        pair.skip(f"this Python has no test package: {error}")
    except unittest.SkipTest as error:
        pair.skip(f"{module} skips itself: {error}")
    results = [compare(name, seconds) for name in names]
    passed, failed, moved = (sum(column) for column in zip(*results))
    print(f"{module}: {passed} tests pass bare, {failed} differ preloaded; {moved} bytes past the kernel")
    return 1 if failed or not passed or (module in MOVING and not moved) else 0


if __name__ == "__main__":
    sys.exit(main())
