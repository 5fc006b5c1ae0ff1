#!/usr/bin/env python3
"""`run` on the simulated device, with a compiler that finds no uthash.h of the system's: test_build.py DRIVER_FOLDER BUILD

Without the header it says so and ends; with the folder of a copy, or with a library built elsewhere, it runs through.
What it spares a real device are all the calls that the simulated one calls misuse.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run")


def header():
    """Where the system's lies."""
    found = subprocess.run(["cc", "-M", "-include", "uthash.h", "-xc", os.devnull], check=True, stdout=subprocess.PIPE)
    return next(w for w in found.stdout.decode().split() if w.endswith("/uthash.h"))


def hide_header(tmp):
    """A compiler that finds another one first, unless it is told of a folder."""
    os.makedirs(os.path.join(tmp, "bin"))
    os.makedirs(os.path.join(tmp, "hidden"))
    with open(os.path.join(tmp, "hidden/uthash.h"), "w") as f:
        f.write("#error there is no uthash.h\n")
    with open(os.path.join(tmp, "bin/cc"), "w") as f:
        f.write(f'#!/bin/sh\nexec {shutil.which("cc")} "$@" -isystem {tmp}/hidden\n')
    os.chmod(os.path.join(tmp, "bin/cc"), 0o755)
    os.environ["PATH"] = os.path.join(tmp, "bin") + os.pathsep + os.environ["PATH"]


def run(driver, out, *more):
    command = [RUN, "--quick", "--cc", "--driver", driver, "--build", out, *more]
    return subprocess.run(command, stderr=subprocess.PIPE, env={**os.environ, "OUT": out})


def spared(driver, out):
    """The random programs without a word of the strict device; without the argument it has one, or this shows nothing."""
    for args, quiet in (["1", "100", "valid"], True), (["1", "100"], False):
        p = subprocess.run([os.path.join(out, "fuzz"), *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           env={**os.environ, "LD_LIBRARY_PATH": driver, "SIMCUDA_STRICT": "1"})
        assert quiet == (b"simcuda" not in p.stderr), p.stderr.decode()


def main():
    driver, out = sys.argv[1:]
    with tempfile.TemporaryDirectory() as tmp:
        given, empty = os.path.join(tmp, "given"), os.path.join(tmp, "empty")
        os.makedirs(given)
        shutil.copy(header(), given)
        hide_header(tmp)
        p = run(driver, out, "--include", empty)
        assert p.returncode == 1 and b"uthash.h is neither in" in p.stderr, p.stderr.decode()
        p = run(driver, out, "--include", given)
        assert not p.returncode, p.stderr.decode()
        with open(os.path.join(out, "bench-gpu.json")) as f:
            assert all(r["same"] for r in json.load(f)["programs"])
        p = run(driver, out, "--include", empty, "--library", os.path.join(out, "libdlaccel.so"), "--only", "launch: chain")
        assert not p.returncode, p.stderr.decode()
    spared(driver, out)


main()
