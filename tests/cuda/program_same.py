#!/usr/bin/env python3
"""A framework's program on the simulated device: the same output bare and preloaded, most launches in graphs.

program_same.py LIBRARY DRIVER_FOLDER PYTHON PROGRAM [ARGUMENT]: where the program ends with 77 (it is not
installed) it is tried with the Python that runs this; 77 where that has it neither. Of the launches that the driver
has to be told of, at least half must have gone in graphs, and the driver must have counted a quarter fewer.
"""
import os
import subprocess
import sys
import tempfile

from counted import busy_device, calls, counters, mostly_in_graphs


def run(py, program, stats, **env):
    p = subprocess.run([py, *program], stdout=subprocess.PIPE, timeout=250,
                       env={**os.environ, "SIMCUDA_STATS": stats, **env})
    return p.returncode, p.stdout.decode()


def main():
    library, driver, python, *program = sys.argv[1:]
    with tempfile.TemporaryDirectory() as tmp:
        stats = [os.path.join(tmp, n) for n in ("bare.calls", "ours.calls")]
        os.environ.update(busy_device(tmp))
        for py in (python, sys.executable):
            if not os.path.exists(py):
                continue
            bare = run(py, program, stats[0], LD_LIBRARY_PATH=driver, LD_PRELOAD="")
            if bare[0] != 77:
                break
        else:
            print("no Python here can run it")
            return 77
        ours = run(py, program, stats[1], LD_LIBRARY_PATH=driver, LD_PRELOAD=library, DLACCEL_DIR=tmp,
                   DLACCEL_CUDA_WAIT="30s", DLACCEL_CUDA_ADAPT="0")
        seen, heard = counters(tmp), [calls(s) if os.path.exists(s) else {} for s in stats]
    print(bare[1], seen)
    if bare[0] or bare != ours:
        print(f"status {bare[0]} bare, {ours[0]} preloaded:", ours[1], sep="\n")
        return 1
    return not mostly_in_graphs(seen, *heard)


sys.exit(main())
