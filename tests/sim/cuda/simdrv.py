"""The driver API by ctypes, as short as tests want it. The library is the one on the loader's path."""
import ctypes
import math
import struct
import sys

cu = ctypes.CDLL("libcuda.so.1")
cu.simcuda_stats.restype = ctypes.c_uint64
FAILED = []


class CudaError(Exception):
    def __init__(self, code, call):
        super().__init__(f"{call}: error {code}")
        self.code = code


def ptr(x=0):
    return ctypes.c_void_p(x)


def dptr(x=0):
    return ctypes.c_uint64(x)


def call(name, *args):
    rc = getattr(cu, name)(*args)
    if rc:
        raise CudaError(rc, name)


def code(name, *args):
    return getattr(cu, name)(*args)


def make(name, *args):
    h = ptr()
    call(name, ctypes.byref(h), *args)
    return h


def init():
    call("cuInit", 0)
    return make("cuCtxCreate_v2", 0, 0)


def alloc(n):
    p = dptr()
    call("cuMemAlloc_v2", ctypes.byref(p), ctypes.c_size_t(n))
    return p.value


def free(p):
    call("cuMemFree_v2", dptr(p))


def to_device(data, p=None):
    data = bytes(data)
    p = alloc(max(1, len(data))) if p is None else p
    call("cuMemcpyHtoD_v2", dptr(p), data, ctypes.c_size_t(len(data)))
    return p


def from_device(p, n):
    buf = ctypes.create_string_buffer(n)
    call("cuMemcpyDtoH_v2", buf, dptr(p), ctypes.c_size_t(n))
    return buf.raw


def module(text):
    return make("cuModuleLoadData", text.encode() + b"\0")


def function(mod, name):
    return make("cuModuleGetFunction", mod, name.encode())


def argv(args):
    """Parameters for a launch: int is 64 bits, ('u32', x), ('f32', x) and the like are what they say."""
    kinds = {"u32": ctypes.c_uint32, "s32": ctypes.c_int32, "u64": ctypes.c_uint64, "f32": ctypes.c_float,
             "f64": ctypes.c_double, "u8": ctypes.c_uint8, "u16": ctypes.c_uint16}
    vals = [kinds[a[0]](a[1]) if isinstance(a, tuple) else ctypes.c_uint64(a) for a in args]
    arr = (ctypes.c_void_p * max(1, len(vals)))(*[ctypes.cast(ctypes.byref(v), ctypes.c_void_p) for v in vals])
    arr.keep = vals
    return arr


def launch(f, grid, block, *args, stream=None, shared=0, cooperative=False):
    g, b = (tuple(x) if isinstance(x, tuple) else (x, 1, 1) for x in (grid, block))
    params = argv(args)
    if cooperative:
        call("cuLaunchCooperativeKernel", f, *g, *b, shared, stream, params)
    else:
        call("cuLaunchKernel", f, *g, *b, shared, stream, params, None)


def sync():
    call("cuCtxSynchronize")


def stats(what):
    return cu.simcuda_stats(what.encode())


HEADER = ".version 8.0\n.target sm_90\n.address_size 64\n"


def f32(bits):
    return struct.unpack("<f", struct.pack("<I", bits & 0xffffffff))[0]


def bits32(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def bits64(x):
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def bits16(x):
    return struct.unpack("<H", struct.pack("<e", x))[0]


def same(a, b):
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def check(what, got, want):
    if not (same(got, want) if not isinstance(want, (list, tuple)) else
            len(got) == len(want) and all(same(x, y) for x, y in zip(got, want))):
        FAILED.append(what)
        print(f"FAILED {what}\n  got  {got}\n  want {want}")


# No misuse: what a correct program may be told as well, and the end of a list (cuFuncGetParamInfo).
ANSWERS = {2, 200, 209, 218, 500, 600, 700, 702, 716, 719, 910}


def expect(what, want, name, *args):
    """A code that says of a call that it was wrong was told with a reason, once (SIMCUDA_STRICT shows it)."""
    before = stats("misuse")
    check(what, code(name, *args), want)
    check(f"{what}: told", stats("misuse") - before, int(want not in {0, *ANSWERS} and name != "cuFuncGetParamInfo"))


def finish():
    print("failed:" if FAILED else "all passed", *FAILED, sep="\n  " if FAILED else "")
    sys.exit(1 if FAILED else 0)
