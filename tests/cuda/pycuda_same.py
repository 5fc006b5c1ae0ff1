#!/usr/bin/env python3
"""PyCUDA on the simulated device: the same output bare and preloaded.

pycuda_same.py LIBRARY DRIVER_FOLDER KERNELS_H PYTHON...: the first Python that has PyCUDA; 77 where none has.
"""
import os
import re
import subprocess
import sys
import tempfile

from counted import counters

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pycuda_program.py")


def ptx_of(header):
    """The text of the string in kernels.h."""
    with open(header) as f:
        lines = re.findall(r'^\s*"(.*)"', f.read(), re.M)
    return "".join(lines).encode().decode("unicode_escape")


def run(py, ptx, **env):
    return subprocess.run([py, PROGRAM, ptx], env={**os.environ, **env}, stdout=subprocess.PIPE, timeout=200)


def main():
    library, driver, header, *candidates = sys.argv[1:]
    with tempfile.TemporaryDirectory() as tmp:
        ptx = os.path.join(tmp, "kernels.ptx")
        with open(ptx, "w") as f:
            f.write(ptx_of(header))
        for py in [*candidates, sys.executable]:
            bare = run(py, ptx, LD_LIBRARY_PATH=driver, LD_PRELOAD="") if os.path.exists(py) else None
            if bare and bare.returncode != 77:
                break
        else:
            print("no Python here has PyCUDA")
            return 77
        ours = run(py, ptx, LD_LIBRARY_PATH=driver, LD_PRELOAD=library, DLACCEL_DIR=tmp, DLACCEL_CUDA_WAIT="1s",
                   DLACCEL_CUDA_ADAPT="0")
        seen = counters(tmp)
    print(bare.stdout.decode(), seen)
    if bare.returncode or ours.returncode or bare.stdout != ours.stdout:
        print("preloaded:", ours.stdout.decode(), sep="\n")
        return 1
    return seen.get("cuda.batched", 0) < 100


sys.exit(main())
