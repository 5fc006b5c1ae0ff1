#!/usr/bin/env python3
"""Random programs, bare without sanitizers and hooked with them: the same output, and no report.

sanitized.py FUZZ DRIVER_FOLDER SANITIZED_FUZZ SANITIZED_DRIVER_FOLDER FIRST COUNT
"""
import os
import re
import subprocess
import sys

OPTIONS = {"TSAN_OPTIONS": "halt_on_error=1:history_size=4", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
           "ASAN_OPTIONS": "detect_leaks=0",  # the program keeps its modules and its second context's memory
           # A device that takes its time: windows come together.
           "SIMCUDA_SEED": "3", "SIMCUDA_DELAY_US": "5", "DLACCEL_CUDA_WAIT": "1s", "DLACCEL_CUDA_ADAPT": "0"}


def run(program, driver, seeds, **settings):
    env = dict(os.environ, LD_LIBRARY_PATH=driver, **settings)
    env.pop("LD_PRELOAD", None)
    return subprocess.run([program, *seeds], env=env, capture_output=True)


def main():
    plain, driver, hooked, hooked_driver, *seeds = sys.argv[1:]
    bare, ours = run(plain, driver, seeds), run(hooked, hooked_driver, seeds, **OPTIONS)
    said = ours.stderr.decode(errors="replace")
    if bare.returncode or ours.returncode or "Sanitizer" in said or "runtime error" in said:
        print(f"exit status bare {bare.returncode}, hooked {ours.returncode}\n{said[-8000:]}")
        return 1
    counted = {k: int(v) for k, v in re.findall(r"^(cuda\.\w+) (\d+)$", said, re.M)}
    print(counted)
    # Without deferred and batched work there was nothing to look at.
    return bare.stdout != ours.stdout or not counted.get("cuda.batched") or not counted.get("cuda.forked")


sys.exit(main())
