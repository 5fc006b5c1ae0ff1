#!/usr/bin/env python3
"""What libdlaccel.so shows and needs: exactly the table of hooks, and libc alone.

usage: exports.py LIBRARY HOOKS_DEF CUDA_DEF..."""
import re
import subprocess
import sys

# Fronts with their own spelling of a row's name, and what the tool reads.
BESIDE_THE_TABLE = {"dprintf", "__dprintf_chk", "_Exit", "execl", "execlp", "execle", "dlaccel_stats", "dlsym", "dlvsym",
                    "__sigaction", "bsd_signal", "ssignal", "sysv_signal", "__sysv_signal", "siginterrupt", "sigset",
                    "__clone"}


def exported(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    return {line.split()[-1].split("@")[0] for line in lines}


def needed(library):
    text = subprocess.run(["readelf", "-d", library], check=True,
                          capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", text))


def writable_code(library):
    text = subprocess.run(["readelf", "-lW", library], check=True,
                          capture_output=True, text=True).stdout
    return [line for line in text.splitlines() if re.search(r"\bRWE\b", line)]


def complain(what, names):
    if names:
        print(f"{what}: {' '.join(sorted(names))}")
    return bool(names)


def main():
    library, hooks, *driver = sys.argv[1:]
    rows = set(re.findall(r"^HOOK\(\w+, [^,]+, (\w+),", open(hooks).read(), re.M))
    words = {w for name in driver for w in re.findall(r"\w+", open(name).read())}
    shown = exported(library)
    cuda = {n for n in shown if re.match(r"cu[A-Z]|cupti", n)}
    bad = complain("in the table, not exported", rows - shown)
    bad |= complain("exported, not in the table", shown - rows - cuda - BESIDE_THE_TABLE)
    bad |= complain("CUDA names without a row", cuda - words - {"cu" + w for w in words} -
                    {"cu" + w + twin for w in words for twin in ("_ptsz", "_ptds")})
    bad |= complain("needed besides libc", {n for n in needed(library) if not n.startswith("libc.so")})
    bad |= complain("writable and executable", set(writable_code(library)))
    print(f"{len(shown)} symbols, {len(rows)} rows, {len(cuda)} of CUDA")
    sys.exit(1 if bad or len(rows) < 50 else 0)


main()
