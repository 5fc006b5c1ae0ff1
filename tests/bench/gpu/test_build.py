#!/usr/bin/env python3
"""`run` on the simulated device as a bare machine has it: test_build.py DRIVER_FOLDER BUILD

With a compiler that is called gcc and finds no uthash.h of the system's, and with nothing else on the path but what every
system has, it builds and runs through; with a library built elsewhere as well. Ended in the middle it leaves what it has
said. What it spares a real device are all the calls that the simulated one calls misuse.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run")


def bare_machine(tmp):
    """A compiler that finds another header first, unless it is told of a folder; neither cc nor meson."""
    tools = os.path.join(tmp, "bin")
    os.makedirs(tools)
    os.makedirs(os.path.join(tmp, "hidden"))
    with open(os.path.join(tmp, "hidden/uthash.h"), "w") as f:
        f.write("#error there is no uthash.h\n")
    with open(os.path.join(tools, "gcc"), "w") as f:
        f.write(f'#!/bin/sh\nPATH={os.environ["PATH"]} exec {shutil.which("cc")} "$@" -isystem {tmp}/hidden\n')
    os.chmod(os.path.join(tools, "gcc"), 0o755)
    for name in ("env", "python3", "sh"):
        os.symlink(shutil.which(name), os.path.join(tools, name))
    os.environ.pop("CC", None)
    os.environ["PATH"] = tools


def command(driver, out, *more):
    return [RUN, "--quick", "--driver", driver, "--build", out, *more]


def run(driver, out, *more):
    return subprocess.run(command(driver, out, *more), stderr=subprocess.PIPE, env={**os.environ, "OUT": out})


def ended(driver, out):
    """By force, once it has said something of the first program."""
    with subprocess.Popen(command(driver, out, "--library", os.path.join(out, "libdlaccel.so")), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env={**os.environ, "OUT": out}) as p:
        assert any(b"C: fuzz" in line for line in p.stdout)
        p.kill()
    assert rows(out)[0]["program"] == "C: fuzz"


def spared(driver, out):
    """The random programs without a word of the strict device; without the argument it has one, or this shows nothing."""
    for args, quiet in (["1", "100", "valid"], True), (["1", "100"], False):
        p = subprocess.run([os.path.join(out, "fuzz"), *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           env={**os.environ, "LD_LIBRARY_PATH": driver, "SIMCUDA_STRICT": "1"})
        assert quiet == (b"simcuda" not in p.stderr), p.stderr.decode()


def rows(out):
    with open(os.path.join(out, "bench-gpu.json")) as f:
        return json.load(f)["programs"]


def main():
    driver, out = sys.argv[1:]
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as tmp:
        bare_machine(tmp)
        p = run(driver, out)
        assert not p.returncode and b"no uthash.h" in p.stderr, p.stderr.decode()
        assert len(rows(out)) > 5 and all(r["same"] for r in rows(out))
        p = run(driver, out, "--library", os.path.join(out, "libdlaccel.so"), "--only", "launch: chain")
        assert not p.returncode and len(rows(out)) == 1, p.stderr.decode()
        os.remove(os.path.join(out, "bench-gpu.json"))
        ended(driver, out)
        os.remove(os.path.join(tmp, "bin/gcc"))
        p = run(driver, out)
        assert p.returncode == 1 and b"no C compiler" in p.stderr, p.stderr.decode()
    spared(driver, out)


main()
