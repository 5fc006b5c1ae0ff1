#!/usr/bin/env python3
"""A Numba program: kernels compiled to PTX by libNVVM and linked by the driver, streams, page-locked memory.

numba_program.py. Checks its results and prints what its memory holds after each ten steps. 77: no Numba, no
libNVVM (of a CUDA toolkit), or no device for it.
"""
import hashlib
import sys
import warnings

try:
    import numpy as np
    from numba import cuda
    from numba.cuda.cudadrv import nvvm
    nvvm.NVVM()
    cuda.get_current_device()
except Exception as e:  # Numba raises its own kinds
    print(f"no Numba here: {e}")
    sys.exit(77)

WORDS, STEPS, LAYERS = 1000, 40, 30


@cuda.jit
def affine(to, of, factor):
    i = cuda.grid(1)
    if i < to.size:
        to[i] = of[i] * factor + np.float32(0.5)


@cuda.jit
def sums(to, of):
    part = cuda.shared.array(128, np.float32)
    i, t = cuda.grid(1), cuda.threadIdx.x
    part[t] = of[i] if i < of.size else np.float32(0)
    cuda.syncthreads()
    half = 64
    while half:
        if t < half:
            part[t] += part[t + half]
        cuda.syncthreads()
        half //= 2
    if t == 0:
        cuda.atomic.add(to, 0, part[0])


def check_sum(stream):
    of, to = cuda.to_device(np.arange(WORDS, dtype=np.float32)), cuda.to_device(np.zeros(1, np.float32))
    sums[8, 128, stream](to, of)
    stream.synchronize()
    assert to.copy_to_host()[0] == WORDS * (WORDS - 1) // 2


def main():
    warnings.simplefilter("ignore")
    stream = cuda.stream()
    check_sum(stream)
    host = cuda.pinned_array(WORDS, np.float32)
    host[:] = np.arange(WORDS)
    a, b = (cuda.to_device(host, stream=stream) for _ in range(2))
    want = np.arange(WORDS, dtype=np.float32)
    for step in range(STEPS):
        for k in range(LAYERS):
            to, of = (b, a) if k % 2 == 0 else (a, b)
            affine[8 + k % 5, 128, stream](to, of, np.float32(0.5))
            want = want * np.float32(0.5) + np.float32(0.5)
        if step % 10 == 9:
            a.copy_to_host(host, stream=stream)
            stream.synchronize()
            assert np.array_equal(host, want)
            print(step, hashlib.sha256(host.tobytes()).hexdigest()[:32])


main()
