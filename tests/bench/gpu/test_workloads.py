#!/usr/bin/env python3
"""The workloads that can do without a GPU run, and say what they must: test_workloads.py DRIVER_FOLDER PYTHON

PyTorch, JAX and Triton on the CPU, tinygrad and PyCUDA on the simulated device. What is not installed is said; 77 if
nothing is.
"""
import os
import subprocess
import sys

import workloads

ON_CPU = {"BENCH_DEVICE": "cpu", "JAX_PLATFORMS": "cpu", "TRITON_INTERPRET": "1"}
ON_SIMULATED = ("tinygrad", "pycuda")
ONLY_ON_GPU = ("cupy",)


def run(name, python, driver):
    """How it ended, and what it said as a dictionary."""
    more = {"LD_LIBRARY_PATH": driver} if name in ON_SIMULATED else ON_CPU
    env = {**os.environ, "BENCH_STEPS": "1", "BENCH_WARM": "1", **more}
    p = subprocess.run([python, workloads.__file__, name], env=env, stdout=subprocess.PIPE)
    return p.returncode, dict(line.split(" ", 1) for line in p.stdout.decode().splitlines() if " " in line)


def main():
    driver, python = sys.argv[1], sys.argv[2] if os.path.exists(sys.argv[2]) else sys.executable
    ran = []
    for name in workloads.WORKLOADS:
        if name in ONLY_ON_GPU:
            continue
        status, said = run(name, python, driver)
        print(name, status, said, flush=True)
        if status == 77 and said.get("skip", "").startswith("No module named"):
            continue
        assert not status and len(said["result"]) == 32 and float(said["time"]) > 0, name
        ran.append(name)
    return 0 if ran else 77


sys.exit(main())
