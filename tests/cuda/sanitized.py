#!/usr/bin/env python3
"""A program, bare without sanitizers and hooked with them: the same output, and no report.

sanitized.py PROGRAM DRIVER_FOLDER SANITIZED_PROGRAM SANITIZED_DRIVER_FOLDER [ARGUMENT ...]
WANT names the counters of which it must have counted some: without deferred work there is nothing to look at. HOOKED:
settings of the hooked run alone.
"""
import os
import re
import subprocess
import sys

OPTIONS = {"TSAN_OPTIONS": "halt_on_error=1:history_size=4:die_after_fork=0", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
           "ASAN_OPTIONS": "detect_leaks=0",  # the program keeps its modules and its second context's memory
           # A device that takes its time: windows come together.
           "SIMCUDA_SEED": "3", "SIMCUDA_DELAY_US": "5", "DLACCEL_CUDA_ADAPT": "0"}


def run(program, driver, args, **settings):
    env = dict(os.environ, LD_LIBRARY_PATH=driver, **settings)
    env.pop("LD_PRELOAD", None)
    return subprocess.run([program, *args], env=env, capture_output=True)


def main():
    plain, driver, hooked, hooked_driver, *args = sys.argv[1:]
    more = dict(setting.split("=", 1) for setting in os.environ["HOOKED"].split())
    bare, ours = run(plain, driver, args), run(hooked, hooked_driver, args, **OPTIONS, **more)
    said = ours.stderr.decode(errors="replace")
    if bare.returncode or ours.returncode or "Sanitizer" in said or "runtime error" in said:
        print(f"exit status bare {bare.returncode}, hooked {ours.returncode}\n{said[-8000:]}")
        return 1
    counted = {k: int(v) for k, v in re.findall(r"^(cuda\.\w+) (\d+)$", said, re.M)}
    print(counted)
    return bare.stdout != ours.stdout or not all(counted.get(name) for name in os.environ["WANT"].split())


sys.exit(main())
