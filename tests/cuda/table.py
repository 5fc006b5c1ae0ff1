#!/usr/bin/env python3
"""Where the toolkit is installed: every entry of its cudaTypedefs.h stands in gpu/driver.def with its version.

table.py GPU_FOLDER. Exit status 77 without a toolkit; a toolkit newer than the table may have more entries.
"""
import glob
import os
import re
import sys


def main():
    headers = sorted(glob.glob("/usr/local/cuda*/include/cudaTypedefs.h"))
    if not headers:
        print("no CUDA toolkit in /usr/local")
        return 77
    version = re.search(r"#define CUDA_VERSION (\d+)", open(os.path.join(os.path.dirname(headers[-1]), "cuda.h")).read())
    text = "".join(open(os.path.join(sys.argv[1], f)).read() for f in ("driver.def", "driver_graphics.def"))
    rows = {(s, int(v), form) for s, v, form in re.findall(r"^CU\(\w+, (\w+), \w+, (\d+), (\w+)\)", text, re.M)}
    names = re.findall(r"^CU\(\w+, \w+, (\w+),", text, re.M)
    assert len(names) == len(set(names)), "a name stands there twice"
    missing = []
    for symbol, v, per_thread in re.findall(r"PFN_(cu\w+?)_v(\d+)(_ptsz|_ptds)?\)", open(headers[-1]).read()):
        if int(v) <= 13000 and (symbol, int(v), "PER_THREAD" if per_thread else "LEGACY") not in rows:
            missing.append(f"{symbol}_v{v}{per_thread}")
    print(f"CUDA {version.group(1)}: {len(rows)} rows, missing {missing}")
    return bool(missing)


sys.exit(main())
