#!/usr/bin/env python3
"""Kernels that Triton compiled (triton/*.ptx), launched as Triton's own launcher does: windows that come back.

triton_program.py FOLDER. Checks what the kernels compute and prints the memory after each ten steps.
"""
import ctypes
import hashlib
import math
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../sim/cuda"))
import simdrv as d  # noqa: E402

STEPS, SCALES, N, INNER, COLUMNS = 40, 30, 32, 64, 50
THREADS = 128


def floats(p, n):
    return list(struct.unpack(f"<{n}f", d.from_device(p, 4 * n)))


def pack(kind, values):
    return struct.pack(f"<{len(values)}{kind}", *values)


class Kernels:
    """Behind its own parameters each kernel has two more pointers, for scratch memory: none here."""

    def __init__(self, folder):
        self.modules, self.stream = [], d.make("cuStreamCreate", 1)
        for name in ("scale", "softmax", "matmul"):
            with open(os.path.join(folder, name + ".ptx")) as f:
                self.modules.append(d.module(f.read()))
            setattr(self, name + "_", d.function(self.modules[-1], name))

    def scale(self, p, n):
        d.launch(self.scale_, -(-n // 256), THREADS, p, ("u32", n), 0, 0, stream=self.stream)

    def softmax(self, to, of, rows, columns):
        d.launch(self.softmax_, rows, THREADS, to, of, ("u32", columns), 0, 0, stream=self.stream, shared=8)

    def matmul(self, to, a, b, inner):
        d.launch(self.matmul_, 1, THREADS, to, a, b, ("u32", inner), 0, 0, stream=self.stream, shared=4096)

    def wait(self):
        d.call("cuStreamSynchronize", self.stream)


def check_scale(k):
    x = [float(i % 97) for i in range(600)]
    p = d.to_device(pack("f", x))
    k.scale(p, 500)
    k.wait()
    d.check("scale", floats(p, 600), [v * 0.5 + 0.25 for v in x[:500]] + x[500:])


def check_matmul(k):
    a = [(i * 7 % 13) - 6.0 for i in range(N * INNER)]
    b = [(i * 5 % 11) - 5.0 for i in range(INNER * N)]
    to = d.alloc(4 * N * N)
    k.matmul(to, d.to_device(pack("e", a)), d.to_device(pack("e", b)), INNER)
    k.wait()
    d.check("matmul", floats(to, N * N),
            [sum(a[i * INNER + m] * b[m * N + j] for m in range(INNER)) for i in range(N) for j in range(N)])


def check_softmax(k):
    x = [math.sin(i) * 3 for i in range(4 * COLUMNS)]
    to = d.alloc(4 * len(x))
    k.softmax(to, d.to_device(pack("f", x)), 4, COLUMNS)
    k.wait()
    for row, got in enumerate(zip(*[iter(floats(to, len(x)))] * COLUMNS)):
        e = [math.exp(v) for v in x[row * COLUMNS:(row + 1) * COLUMNS]]
        far = max(abs(g - v / sum(e)) for g, v in zip(got, e))
        d.check(f"softmax, row {row}: within a millionth", far < 1e-6, True)


def steps(k):
    x = d.to_device(pack("f", [i / 7 for i in range(N * N)]))
    y, half = d.alloc(4 * N * N), d.to_device(pack("e", [(i % 9) / 8 for i in range(N * INNER)]))
    for step in range(STEPS):
        for i in range(SCALES):
            k.scale(x, N * N - i)
        k.softmax(y, x, N, N)
        k.matmul(x, half, half, INNER)
        k.softmax(x, x, N, N - step % 3)
        if step % 10 == 9:
            k.wait()
            print(step, hashlib.sha256(d.from_device(x, 4 * N * N) + d.from_device(y, 4 * N * N)).hexdigest()[:32])


def main():
    context = d.init()
    k = Kernels(sys.argv[1])
    for check in (check_scale, check_matmul, check_softmax):
        check(k)
    steps(k)
    d.call("cuCtxDestroy_v2", ctypes.c_void_p(context.value))
    d.finish()


main()
