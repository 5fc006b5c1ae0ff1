#!/usr/bin/env python3
"""Builds library and tests with a sanitizer and runs the unit and preload suites of that build.

    run.py SOURCE BUILD address,undefined|thread

BUILD is kept, so that a second run compiles only what has changed.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# Why a test cannot be run with a sanitizer in library and program.
LEFT_OUT = {
    "exports": "the library needs the sanitizer's run time besides libc",
    "model": "holds no line of the library",
    "model-mutations": "holds no line of the library",
    "model-tags": "holds no line of the library",
    "asyncio_pair": "the interpreter brings no run time along",
    "selectors_pair": "the interpreter brings no run time along",
    "memreg": "expects the addresses that glibc's allocator gives a second time",
    "pair-jemalloc": "the sanitizer is an allocator itself",
    "pair-no_malloc": "brings an allocator of its own",
    "pair-in_handler": "brings an allocator of its own",
    "pair-asan-program": "has the sanitizer already",
    "pair-limits-as": "shadow memory is larger than the limit",
    "pair-memory_limit": "shadow memory is larger than the limit",
}
LEFT_OUT_OF_THREAD = {
    "pair-close_blocked": "the program itself closes a descriptor that another of its threads waits on",
    "pair-churn": "counts resident memory, and the run time's own grows",
    "pair-exec_children": "its children are programs without the run time",
    "pair-signal_once-sysv_signal": "the run time runs handlers later, and until then the next signal kills",
    "pair-wait_masks": "the run time runs handlers later, outside the call that admits them, without the library too",
    "pair-urgent": "UNRESOLVED: a server misses its SIGURG, without the library too (7 bare runs of 650; plain builds never)",
}
OPTIONS = {
    # The run time asks for the loader's functions, our dlsym among them, before it is ready to see any.
    "thread": ["-Dcuda=disabled"],
}
ENVIRONMENT = {
    # The preloaded library comes before the program's run time. Locals that lie elsewhere than on the stack: cancellation leaves frames
    # without a word to the run time, which would trip over their red zones at the thread's end.
    "ASAN_OPTIONS": "verify_asan_link_order=0:detect_stack_use_after_return=1",
    "LSAN_OPTIONS": f"print_suppressions=0:suppressions={os.path.join(HERE, 'leaks')}",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}


def meson(*args):
    return subprocess.run(["meson", *args], check=True, capture_output=True, text=True).stdout


def set_up(source, build, sanitizer):
    if os.path.exists(os.path.join(build, "build.ninja")):
        return
    meson("setup", build, source, f"-Db_sanitize={sanitizer}", "-Db_lundef=false", "-Dtests=enabled",
          *OPTIONS.get(sanitizer, []))


def build_library(build):
    """The tests get its path, so meson does not know that they need it."""
    subprocess.run(["ninja", "-C", build, "shim/libdlaccel.so"], check=True, stdout=subprocess.DEVNULL)


def chosen(build, left_out):
    for test in json.loads(meson("introspect", build, "--tests")):
        if test["name"].startswith("tool-"):  # they are run with the tool sanitized and plain programs
            continue
        if any(suite.split(":")[-1] in ("unit", "preload") for suite in test["suite"]) and test["name"] not in left_out:
            yield test["name"]


def main():
    source, build, sanitizer = sys.argv[1:]
    left_out = dict(LEFT_OUT, **(LEFT_OUT_OF_THREAD if sanitizer == "thread" else {}))
    try:
        set_up(source, build, sanitizer)
    except subprocess.CalledProcessError as error:
        sys.exit(error.stdout)
    build_library(build)
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    names = list(chosen(build, left_out))
    print(f"{len(names)} tests with -fsanitize={sanitizer}", flush=True)
    sys.exit(subprocess.run(["meson", "test", "-C", build, "--print-errorlogs", "--timeout-multiplier", "3", *names],
                            env=dict(os.environ, **ENVIRONMENT), stdin=subprocess.DEVNULL).returncode)


if __name__ == "__main__":
    main()
