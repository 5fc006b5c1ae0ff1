#!/usr/bin/env python3
"""Kernels compiled by nvcc to PTX run on the simulated device and give what Python computes. 77: no nvcc here."""
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile

if not shutil.which("nvcc"):
    print("skipped: no nvcc on the path")
    sys.exit(77)

import simdrv as sim

HERE = os.path.dirname(os.path.abspath(__file__))


def compile_ptx(*options):
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "k.ptx")
        subprocess.run(["nvcc", "-ptx", "-arch=sm_90", *options, "-o", out, os.path.join(HERE, "test_nvcc.cu")], check=True)
        return open(out).read()


def floats(p, n, code="f"):
    return list(struct.unpack(f"<{n}{code}", sim.from_device(p, n * struct.calcsize(code))))


def single(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def near(what, got, want, rel):
    bad = [(i, g, w) for i, (g, w) in enumerate(zip(got, want)) if not abs(g - w) <= rel * max(1, abs(w))]
    sim.check(f"{what}: first of the differences {bad[:2]}", bad, [])


def trunc_div(a, b):
    return int(a / b)


def pick(what, a, b):
    u = lambda v: v & 0xffffffff
    table = [lambda: a + b, lambda: a - b, lambda: a * b, lambda: trunc_div(a, b) if b else 0,
             lambda: a - trunc_div(a, b) * b if b else 0, lambda: bin(u(a)).count("1") + 32 - u(b).bit_length(),
             lambda: max(a, b) - min(a, b)]
    return table[what]() if what < 7 else -1


def run_all(ptx):
    mod = sim.module(ptx)
    fn = lambda name: sim.function(mod, name)
    vals = [single(math.sin(i) * 3) for i in range(1000)]
    a, out = sim.to_device(struct.pack("<1000f", *vals)), sim.to_device(bytes(4))
    sim.launch(fn("reduce"), 4, 128, a, out, ("s32", 1000))
    near("reduce", floats(out, 1), [sum(vals)], 1e-4)

    out, wide = sim.alloc(32 * 8 * 4), sim.alloc(32 * 2 * 8)
    sim.launch(fn("maths"), 1, 32, a, out, wide)
    want, want_wide = [], []
    for x in vals[:32]:
        bf = struct.unpack("<f", struct.pack("<I", (sim.bits32(x) + 0x7fff + (sim.bits32(x) >> 16 & 1)) & 0xffff0000))[0]
        want += [math.exp(x), math.log(abs(x) + 1), math.sin(single(x * 1000)), math.pow(abs(x) + 0.5, 1.7), x / single(3.7),
                 math.erf(x), math.tanh(x), struct.unpack("<e", struct.pack("<e", x))[0] + bf]
        want_wide += [math.exp(x) / 7, math.fmod(math.cos(x * 50), 0.3)]
    near("float functions", floats(out, 256), want, 3e-6)
    near("double functions", floats(wide, 64, "d"), want_wide, 1e-13)

    out = sim.alloc(64 * 8 * 4)
    sim.launch(fn("branches"), 1, 64, out)
    want = []
    for t in range(64):
        local = [pick((t + i) % 9, t * 3, i - 2) for i in range(8)]
        want += [local[(i + t) % 8] for i in range(8)]
    sim.check("branches", floats(out, 512, "i"), want)

    n = 8 * 64
    data = sim.to_device(struct.pack(f"<{n}i", *range(n)))
    sim.launch(fn("gridsync"), 8, 64, data, ("s32", n), cooperative=True)
    want = list(range(n))
    for _ in range(3):
        want = [want[(i + 1) % n] + 1 for i in range(n)]
    sim.check("grid synchronisation", floats(data, n, "i"), want)

    ma = [[(r * 7 + k) % 5 - 2 for k in range(16)] for r in range(16)]
    mb = [[(k * 3 + c) % 7 - 3 for c in range(8)] for k in range(16)]
    da = sim.to_device(b"".join(struct.pack("<16e", *r) for r in ma))
    db = sim.to_device(b"".join(struct.pack("<8e", *r) for r in mb))
    out = sim.alloc(16 * 8 * 4)
    sim.launch(fn("gemm"), 1, 32, da, db, out)
    sim.check("gemm", floats(out, 128), [float(sum(ma[r][k] * mb[k][c] for k in range(16))) for r in range(16) for c in range(8)])

    one = struct.pack("<i4xd5s3x", 40, 2.25, b"abcd\0")
    out = sim.alloc(24 * 4)
    raw = sim.ctypes.create_string_buffer(one, 24)
    params = (sim.ctypes.c_void_p * 2)(sim.ctypes.addressof(raw), sim.ctypes.addressof(sim.ctypes.c_uint64(out)))
    keep = sim.ctypes.c_uint64(out)
    params[1] = sim.ctypes.addressof(keep)
    sim.call("cuLaunchKernel", fn("structs"), 1, 1, 1, 4, 1, 1, 0, None, params, None)
    got = [struct.unpack_from("<i4xd5s", sim.from_device(out, 96), 24 * i) for i in range(4)]
    sim.check("structures by value", got, [(40 + i, 2.25, b"abcd\0"[:i] + b"x" + b"abcd\0"[i + 1:]) for i in range(4)])

    blocks = 16
    data = sim.to_device(struct.pack(f"<{32 * blocks}i", *range(32 * blocks)))
    flags = sim.to_device(bytes(8 * blocks))
    sim.launch(fn("scan"), blocks, 32, data, flags)
    sim.check("chained scan", floats(data, 32 * blocks, "i"),
              [32 * b + t + sum(range(32 * b)) for b in range(blocks) for t in range(32)])
    sim.sync()


def fat_binaries():
    """PTX inside a fat binary: plain, LZ4, Zstandard; a binary with machine code only is refused."""
    with tempfile.TemporaryDirectory() as tmp:
        src, out = os.path.join(tmp, "k.cu"), os.path.join(tmp, "k.fatbin")
        open(src, "w").write('extern "C" __global__ void k(int *p) { p[threadIdx.x] = threadIdx.x * 3 + 1; }\n')
        for mode in ("none", "speed", "size"):
            options = ["-gencode", "arch=compute_80,code=compute_80", "-gencode", "arch=compute_90,code=[compute_90,sm_90]"]
            if subprocess.run(["nvcc", "-fatbin", *options, f"--compress-mode={mode}", "-o", out, src]).returncode:
                print(f"(this nvcc has no compress mode {mode})")
                continue
            mod = sim.make("cuModuleLoadFatBinary", open(out, "rb").read())
            p = sim.alloc(64)
            sim.launch(sim.function(mod, "k"), 1, 16, p)
            sim.check(f"fat binary, {mode}", floats(p, 16, "i"), [3 * i + 1 for i in range(16)])
        subprocess.run(["nvcc", "-fatbin", "-gencode", "arch=compute_90,code=sm_90", "-o", out, src], check=True)
        sim.expect("machine code only", 209, "cuModuleLoadData", sim.ctypes.byref(sim.ptr()), open(out, "rb").read())


sim.init()
fat_binaries()
run_all(compile_ptx("-O3"))
run_all(compile_ptx("-O3", "-G"))
sim.finish()
