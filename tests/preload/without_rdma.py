#!/usr/bin/env python3
"""The library as it is built where rdma-core's headers are not: it meets one that was built with them, and its own kind.

    without_rdma.py SOURCE BUILD LIB PROGRAM

BUILD is kept, so that a second run compiles only what has changed.
"""
import os
import subprocess
import sys

RUN_PAIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness", "run_pair.py")
OPTIONS = ["-Drdma=disabled", "-Dcuda=disabled", "-Dtests=disabled", "-Doptimization=0"]


def build(source, folder):
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        subprocess.run(["meson", "setup", folder, source, *OPTIONS], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", folder, "shim/libdlaccel.so"], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(folder, "shim", "libdlaccel.so")


def main():
    source, folder, ours, program = map(os.path.abspath, sys.argv[1:])
    without = build(source, folder)
    if b"libibverbs" in open(without, "rb").read():
        print("it is built with RDMA")
        return 1
    failed = 0
    for client in (without, ours):
        failed += subprocess.run([sys.executable, RUN_PAIR, "--lib", without, "--client-lib", client, "--variants", "both",
                                  "--env", "DLACCEL_RDMA=1", "--expect", "net.upgraded==2",
                                  "--expect", "net.bytes_ring|net.bytes_block>=1", "--", program]).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
