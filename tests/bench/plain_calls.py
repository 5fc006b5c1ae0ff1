"""What the preload adds to a call on a connection that stays plain TCP: instructions, and locked ones among them.

    plain_calls.py PLAIN LIBRARY     exit 1 where a call takes more than its limit

Instructions are limited in a process of one thread, since what libc does for cancellation in others depends on its version;
locked ones, each of which costs as much as many others, in one of two: there a count that threads share needs one.
"""
import os
import re
import subprocess
import sys
import tempfile

import instructions

# turn of plain.c: hooked calls in one turn, instructions and locked ones that each of them may take more
CALLS = {"send": (4, 85, 2.1), "write": (4, 86, 2.1), "writev": (4, 96, 2.1), "sendmsg": (4, 101, 2.1), "sendfile": (4, 83, 2.1),
         "cork": (2, 50, 0.1), "empty": (1, 120, 2.1), "epoll": (1, 107, 2.1), "epoll_timeout": (1, 107, 2.1), "poll": (1, 760, 16.1)}
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


def totals(argv, library, places):
    """(instructions, locked ones of the library)"""
    with tempfile.NamedTemporaryFile("r") as dump:
        all_of_them = instructions.total(argv, library, ["--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"], dump.name)
        return all_of_them, locked_in(dump.read(), library, places)


def over(program, call, library, places, *threads):
    """What a call takes more than bare, and the library's locked instructions in it."""
    (bare_many, _), (bare_few, _), many, few = (
        totals([program, call, str(n), *threads], lib, places)
        for lib in (None, library) for n in (instructions.MANY, instructions.FEW))
    turns = (instructions.MANY - instructions.FEW) * CALLS[call][0]
    return (many[0] - few[0] - bare_many + bare_few) / turns, (many[1] - few[1]) / turns


def main():
    program, library = sys.argv[1], os.path.realpath(sys.argv[2])
    if why := instructions.cannot_run():
        print(f"skipped: {why}")
        return 77
    places = locked_places(library)
    bad = 0
    for call, (_, most, most_locked) in CALLS.items():
        one, _ = over(program, call, library, places)
        two, locked = over(program, call, library, places, "threads")
        fails = one > most or locked > most_locked
        bad += fails
        print(f"{call:14} {one:+6.1f}; of two threads {two:+6.1f}, {locked:.2f} locked{f'  more than {most}, {most_locked}' if fails else ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
