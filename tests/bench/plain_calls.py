"""What the preload adds to a call on a connection that stays plain TCP: instructions, and locked ones among them.

    plain_calls.py PLAIN LIBRARY     exit 1 where a call takes more than its limit

In a process of two threads, for then a count that they share needs a locked instruction, which costs as much as many others.
"""
import os
import re
import subprocess
import sys
import tempfile

import instructions

# turn of plain.c: hooked calls in one turn, instructions and locked ones that each of them may take more
CALLS = {"send": (4, 85, 2.1), "write": (4, 80, 2.1), "writev": (4, 90, 2.1), "sendmsg": (4, 97, 2.1), "empty": (1, 112, 2.1),
         "epoll": (1, 107, 2.1), "epoll_timeout": (1, 107, 2.1), "poll": (1, 760, 16.1)}
LOCKED = re.compile(r"^\s*([0-9a-f]+):\s+(?:lock\b|xchg\s.*\()", re.M)
COST = re.compile(r"^(?:0x([0-9a-f]+) \d+ (\d+)|(ob|calls)=(.*))$", re.M)


def locked_places(library):
    done = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True)
    return {int(place, 16) for place in LOCKED.findall(done.stdout)}


def locked_in(dump, library, places):
    """How often the library's locked instructions ran.  The line behind `calls` is the callee's cost."""
    found, inside, called = 0, False, False
    for place, cost, key, value in COST.findall(dump):
        if key == "ob":
            inside = os.path.realpath(value) == library
        elif key == "calls":
            called = True
        elif called:
            called = False
        elif inside and int(place, 16) in places:
            found += int(cost)
    return found


def totals(program, call, count, library, places):
    """(instructions, locked ones of the library)"""
    with tempfile.NamedTemporaryFile("r") as dump:
        all_of_them = instructions.total([program, call, str(count), "threads"], library,
                                         ["--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"], dump.name)
        return all_of_them, locked_in(dump.read(), library, places)


def per_call(program, call, library, places):
    many, few = (totals(program, call, n, library, places) for n in (instructions.MANY, instructions.FEW))
    return [(m - f) / (instructions.MANY - instructions.FEW) / CALLS[call][0] for m, f in zip(many, few)]


def main():
    program, library = sys.argv[1], os.path.realpath(sys.argv[2])
    if why := instructions.cannot_run():
        print(f"skipped: {why}")
        return 77
    places = locked_places(library)
    bad = 0
    for call, (_, most, most_locked) in CALLS.items():
        bare, (preloaded, locked) = per_call(program, call, None, places)[0], per_call(program, call, library, places)
        over = preloaded - bare > most or locked > most_locked
        bad += over
        print(f"{call:14} {bare:6.1f} bare {preloaded:6.1f} preloaded {preloaded - bare:+6.1f}, {locked:.2f} locked"
              f"{f'  more than {most}, {most_locked}' if over else ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
