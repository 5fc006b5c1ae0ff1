#!/usr/bin/env python3
"""A program in CUDA C++, linked with the small runtime in nvcc/: the same output bare and preloaded.

nvcc_same.py LIBRARY DRIVER_FOLDER SOURCE_FOLDER nvcc|clang
By nvcc with `-cudart none` where there is a toolkit; by clang without one. 77: that compiler is not here.
"""
import os
import shutil
import subprocess
import sys
import tempfile

from counted import counters

LIBRARY, DRIVER, SOURCE, COMPILER = sys.argv[1:5]
PROGRAM, RUNTIME = (os.path.join(SOURCE, f) for f in ("program.cu", "runtime.c"))
LINK = ("-ldl", "-lpthread")


def sh(*command):
    subprocess.run(command, check=True)


def by_nvcc(out, tmp):
    sh("nvcc", "-cudart", "none", "-gencode", "arch=compute_75,code=compute_75", "-o", out, PROGRAM, RUNTIME, *LINK)


def by_clang(out, tmp):
    """clang takes what it embeds as the GPU's binary as it is: here the text of its own PTX."""
    # The older of its two ways to launch is chosen if it does not know of a toolkit.
    cuda = ("clang++", "-x", "cuda", "-std=c++17", "--cuda-gpu-arch=sm_70", "-nocudainc", "-nocudalib", "-O2",
            "-Wno-unknown-cuda-version", "-Xclang", "-target-sdk-version=11.5")
    ptx, host, runtime = (os.path.join(tmp, n) for n in ("k.ptx", "program.o", "runtime.o"))
    sh(*cuda, "--cuda-device-only", "-S", "-o", ptx, PROGRAM)
    with open(ptx, "ab") as f:
        f.write(b"\0")
    sh(*cuda, "--cuda-host-only", "-Xclang", "-fcuda-include-gpubinary", "-Xclang", ptx, "-c", "-o", host, PROGRAM)
    sh("clang", "-O2", "-c", "-o", runtime, RUNTIME)
    sh("clang++", "-o", out, host, runtime, *LINK)


BUILD = {"nvcc": by_nvcc, "clang": by_clang}


def run(program, **settings):
    env = dict(os.environ, LD_LIBRARY_PATH=DRIVER, **settings)
    env.pop("LD_PRELOAD", None)
    if settings:
        env["LD_PRELOAD"] = LIBRARY
    return subprocess.run([program], env=env, stdout=subprocess.PIPE, timeout=120, check=True).stdout.decode()


def main():
    if not shutil.which(COMPILER if COMPILER == "nvcc" else "clang++"):
        print(f"no {COMPILER} here")
        return 77
    with tempfile.TemporaryDirectory() as tmp:
        program, stats = os.path.join(tmp, "program"), os.path.join(tmp, "stats")
        os.mkdir(stats)
        BUILD[COMPILER](program, tmp)
        bare = run(program)
        ours = run(program, DLACCEL_DIR=stats, DLACCEL_CUDA_WAIT="1s", DLACCEL_CUDA_ADAPT="0")
        seen = counters(stats)
    print(bare, seen, sep="")
    if bare != ours:
        print("preloaded:", ours, sep="\n")
        return 1
    if len(bare.splitlines()) != 9 or not bare.endswith("a bad address: 700\n"):
        print("the program itself did not work")
        return 1
    # 60 steps of 42 launches: nothing deferred or nothing batched would prove nothing.
    return seen.get("cuda.submissions", 0) < 100 or seen.get("cuda.batched", 0) < 500


sys.exit(main())
