#!/usr/bin/env python3
"""A PyCUDA program as it stands in its documentation, with PTX instead of nvcc: streams, events, page-locked memory.

pycuda_program.py KERNELS_H. Prints what its memory holds after each ten steps. 77: no PyCUDA, or no device for it.
"""
import hashlib
import re
import sys

try:
    import numpy as np
    import pycuda.driver as cuda
    cuda.init()
    device = cuda.Device(0)
except Exception as e:  # PyCUDA raises its own kinds
    print(f"no PyCUDA here: {e}")
    sys.exit(77)

WORDS, STEPS, LAYERS = 64, 40, 60


def ptx_of(header):
    """The text of the string in kernels.h."""
    with open(header) as f:
        lines = re.findall(r'^\s*"(.*)"', f.read(), re.M)
    return "".join(lines).encode().decode("unicode_escape").encode()


def main():
    context = device.make_context()
    try:
        module = cuda.module_from_buffer(ptx_of(sys.argv[1]) + b"\0")
        mix, spin = module.get_function("mix"), module.get_function("spin")
        host = cuda.pagelocked_empty(WORDS, np.uint32)
        host[:] = np.arange(WORDS) * 77
        a, b = cuda.mem_alloc(host.nbytes), cuda.mem_alloc(host.nbytes)
        stream, other, forked, joined = cuda.Stream(), cuda.Stream(), cuda.Event(), cuda.Event()
        cuda.memcpy_htod_async(a, host, stream)
        cuda.memcpy_htod_async(b, host, stream)
        for step in range(STEPS):
            for k in range(LAYERS):
                to, of = (a, b) if k % 2 else (b, a)
                mix(to, of, np.uint32(k + step), np.uint32(WORDS), grid=(1 + k * k % 11, 1), block=(WORDS, 1, 1),
                    stream=stream)
            forked.record(stream)
            other.wait_for_event(forked)
            spin(b, np.uint32(3), np.uint32(WORDS), grid=(1, 1), block=(WORDS, 1, 1), stream=other)
            joined.record(other)
            stream.wait_for_event(joined)
            cuda.memcpy_dtod_async(a, b, host.nbytes // 2, stream)
            cuda.memset_d32_async(b, step, WORDS // 4, stream)
            if step % 10 == 9:
                cuda.memcpy_dtoh_async(host, a, stream)
                stream.synchronize()
                print(step, hashlib.sha256(host.tobytes()).hexdigest()[:32])
        for wrong in (4096, 0):
            try:
                mix(a, b, np.uint32(1), np.uint32(WORDS), grid=(1, 1), block=(wrong, 1, 1))
                print("no error")
            except cuda.Error as e:
                print(type(e).__name__, e)
    finally:
        context.pop()


main()
