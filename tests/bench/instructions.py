"""Instructions that the preload adds to a call on a descriptor that is not its business.

    instructions.py FOREIGN LIBRARY     exit 1 where a call takes more than LIMIT more

Counted by callgrind, so the same on every machine and under any load.
"""
import os
import re
import shutil
import subprocess
import sys

LIMIT = 30
# turn of foreign.c: hooked calls in one turn
CALLS = {"read": 1, "write": 1, "writev": 1, "pipe": 2, "fcntl": 1, "ioctl": 1, "dup_close": 2, "close": 1,
         "poll": 1, "epoll": 1, "select": 1}
FEW, MANY = 1000, 3000


def cannot_run():
    """What is missing, or None."""
    return None if shutil.which("valgrind") else "valgrind is not installed"


def total(argv, library, options=(), out="/dev/null"):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DLACCEL") and k != "LD_PRELOAD"}
    if library:
        env["LD_PRELOAD"] = library
    argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *options, *argv]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"{argv}: {done.returncode}: {done.stderr[-1000:]}")
    return int(found.group(1))


def per_call(program, call, library):
    many, few = (total([program, call, str(n)], library) for n in (MANY, FEW))
    return (many - few) / (MANY - FEW) / CALLS[call]


def measure(program, library):
    """{call: (instructions bare, preloaded)}"""
    return {call: (per_call(program, call, None), per_call(program, call, library)) for call in CALLS}


def main():
    if why := cannot_run():
        print(f"skipped: {why}")
        return 77
    bad = 0
    for call, (bare, preloaded) in measure(*sys.argv[1:3]).items():
        over = preloaded - bare > LIMIT
        bad += over
        print(f"{call:10} {bare:6.1f} bare {preloaded:6.1f} preloaded {preloaded - bare:+6.1f}"
              f"{'  more than ' + str(LIMIT) if over else ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
