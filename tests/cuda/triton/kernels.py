#!/usr/bin/env python3
"""The kernels that lie beside this file as PTX, in Triton, and how they came to be PTX.

kernels.py FOLDER: writes them anew. Needs Triton, but no GPU and no CUDA.
"""
import os
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def scale(p, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(p + i, mask=i < n)
    tl.store(p + i, x * 0.5 + 0.25, mask=i < n)


@triton.jit
def softmax(to, of, columns, BLOCK: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(of + row * columns + i, mask=i < columns, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))
    tl.store(to + row * columns + i, e / tl.sum(e, axis=0), mask=i < columns)


@triton.jit
def matmul(to, a, b, inner, N: tl.constexpr, K: tl.constexpr):
    i, k = tl.arange(0, N), tl.arange(0, K)
    acc = tl.zeros((N, N), dtype=tl.float32)
    for at in range(0, inner, K):
        x = tl.load(a + i[:, None] * inner + at + k[None, :])
        y = tl.load(b + (at + k)[:, None] * N + i[None, :])
        acc = tl.dot(x, y, acc)
    tl.store(to + i[:, None] * N + i[None, :], acc)


KERNELS = [(scale, {"p": "*fp32", "n": "i32"}, {"BLOCK": 256}),
           (softmax, {"to": "*fp32", "of": "*fp32", "columns": "i32"}, {"BLOCK": 64}),
           (matmul, {"to": "*fp32", "a": "*fp16", "b": "*fp16", "inner": "i32"}, {"N": 32, "K": 32})]


def main():
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"
    for kernel, arguments, constants in KERNELS:
        signature = {**arguments, **{name: "constexpr" for name in constants}}
        made = triton.compile(ASTSource(fn=kernel, signature=signature, constexprs=constants),
                              target=GPUTarget("cuda", 80, 32), options={"num_warps": 4})
        print(kernel.__name__, "shared", made.metadata.shared)
        with open(os.path.join(sys.argv[1], kernel.__name__ + ".ptx"), "w") as f:
            f.write("\n".join(line.rstrip() for line in made.asm["ptx"].splitlines()) + "\n")


main()
