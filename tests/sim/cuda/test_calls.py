#!/usr/bin/env python3
"""More of the driver API: functions, occupancy, ways of launching, kinds of memory, pools, graphs built by hand, values."""
import ctypes
import struct

import simdrv as sim
from simdrv import call, code, dptr, expect, make, ptr

N = 32
KERNELS = sim.HEADER + """
.visible .entry axpb(.param .u64 p, .param .u32 a, .param .u32 b) {
  .reg .b32 %r<8>; .reg .b64 %rd<4>;
  ld.param.u64 %rd0, [p]; ld.param.u32 %r0, [a]; ld.param.u32 %r1, [b]; mov.u32 %r2, %tid.x;
  mul.wide.u32 %rd1, %r2, 4; add.u64 %rd2, %rd0, %rd1; ld.global.u32 %r3, [%rd2]; mad.lo.u32 %r3, %r3, %r0, %r1;
  st.global.u32 [%rd2], %r3; ret; }
.visible .entry bounded(.param .u64 p) .maxntid 64 {
  .shared .align 4 .b8 s[512]; .local .align 4 .b8 l[24]; .reg .b32 %r<2>; .reg .b64 %rd;
  ld.param.u64 %rd, [p]; mov.u32 %r0, %dynamic_smem_size; st.shared.u32 [s], %r0; st.local.u32 [l], %r0;
  ld.local.u32 %r1, [l]; st.global.u32 [%rd], %r1; ret; }
.visible .entry ids(.param .u64 p) {
  .reg .b32 %r<8>; .reg .b64 %rd<3>;
  ld.param.u64 %rd0, [p]; mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x; mad.lo.u32 %r3, %r0, %r1, %r2;
  mul.wide.u32 %rd1, %r3, 4; add.u64 %rd2, %rd0, %rd1; st.global.u32 [%rd2], %r3; ret; }
"""


def words(p, n=N):
    return list(struct.unpack(f"<{n}I", sim.from_device(p, 4 * n)))


def number(kind, name, *args):
    """What an entry writes into its first argument."""
    x = kind()
    call(name, ctypes.byref(x), *args)
    return x.value


def as_number(name, *args):
    return number(ctypes.c_int, name, *args)


def functions(mod):
    f, p = sim.function(mod, "bounded"), sim.alloc(4)
    get = lambda which: as_number("cuFuncGetAttribute", which, f)
    sim.check("threads, shared, local", (get(0), get(1), get(3)), (64, 512, 32))
    sim.check("PTX and binary version", (get(5), get(6)), (90, 90))
    sim.check("dynamic shared memory", get(8), (48 << 10) - 512)
    expect("more than that", 1, "cuLaunchKernel", f, 1, 1, 1, 1, 1, 1, 60 << 10, None, sim.argv([p]), None)
    call("cuFuncSetAttribute", f, 8, 64 << 10)
    sim.launch(f, 1, 1, p, shared=60 << 10)
    sim.check("when it was asked for", (words(p, 1), get(8)), ([60 << 10], 64 << 10))
    expect("more than there is", 1, "cuFuncSetAttribute", f, 8, 1 << 20)
    expect("not to be set", 1, "cuFuncSetAttribute", f, 0, 128)
    call("cuKernelSetAttribute", 9, 50, f, 0)
    sim.check("carveout", as_number("cuKernelGetAttribute", 9, f, 0), 50)
    sim.check("its module", number(ctypes.c_void_p, "cuFuncGetModule", f), mod.value)
    sim.check("its name", number(ctypes.c_char_p, "cuFuncGetName", f), b"bounded")
    sim.check("how many there are", as_number("cuModuleGetFunctionCount", mod), 3)
    lib = ptr()
    call("cuLibraryLoadData", ctypes.byref(lib), KERNELS.encode() + b"\0", None, None, 0, None, None, 0)
    kernels = (ctypes.c_void_p * 3)()
    call("cuLibraryEnumerateKernels", kernels, as_number("cuLibraryGetKernelCount", lib), lib)
    names = {number(ctypes.c_char_p, "cuKernelGetName", ptr(k)) for k in kernels}
    sim.check("the kernels of a library", names, {b"axpb", b"bounded", b"ids"})
    call("cuLibraryUnload", lib)


def occupancy(mod):
    """SIMCUDA_RESIDENT is 64 blocks on four multiprocessors: as many as are said to fit can wait for one another."""
    f, g = sim.function(mod, "ids"), sim.function(mod, "bounded")
    blocks = lambda *a: as_number("cuOccupancyMaxActiveBlocksPerMultiprocessor", *a)
    big = lambda n: ctypes.c_size_t(n)
    sim.check("by blocks, by threads", (blocks(f, 32, big(0)), blocks(f, 1024, big(0))), (16, 2))
    sim.check("by shared memory", blocks(f, 32, big(48 << 10)), 233472 // (49 << 10))
    sim.check("not at all", blocks(f, 32, big(1 << 20)), 0)
    p = sim.alloc(4 * 16 * 4 * 1024)
    per = blocks(f, 1024, big(0))
    for over in (0, 1):
        expect(f"{over} more than fit", 720 if over else 0, "cuLaunchCooperativeKernel", f, 4 * per + over, 1, 1, 1024, 1, 1, 0,
               None, sim.argv([p]))
    sim.check("all of them ran", words(p, 1024 * 4 * per), list(range(1024 * 4 * per)))
    grid, block = ctypes.c_int(), ctypes.c_int()
    call("cuOccupancyMaxPotentialBlockSize", ctypes.byref(grid), ctypes.byref(block), g, None, big(0), 0)
    sim.check("most threads: .maxntid", (grid.value, block.value), (64, 64))
    call("cuOccupancyMaxPotentialBlockSize", ctypes.byref(grid), ctypes.byref(block), f, None, big(0), 0)
    sim.check("most threads", grid.value * block.value, 4 * 2048)
    expect("blocks of nothing", 1, "cuOccupancyMaxActiveBlocksPerMultiprocessor", ctypes.byref(grid), f, 0, big(0))
    room = number(ctypes.c_size_t, "cuOccupancyAvailableDynamicSMemPerBlock", f, 8, 32)
    sim.check("what is left for each of eight", blocks(f, 32, big(room)), 8)


class Attribute(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int), ("pad", ctypes.c_int), ("value", ctypes.c_int * 16)]


class Config(ctypes.Structure):
    _fields_ = [("dims", ctypes.c_uint * 7), ("stream", ctypes.c_void_p), ("attrs", ctypes.POINTER(Attribute)),
                ("n", ctypes.c_uint)]


def launches(mod):
    f, p = sim.function(mod, "axpb"), sim.to_device(bytes(4 * N))
    packed = struct.pack("<QII", p, 1, 5)
    buf, size = ctypes.create_string_buffer(packed, len(packed)), ctypes.c_size_t(len(packed))
    extra = (ctypes.c_void_p * 5)(1, ctypes.addressof(buf), 2, ctypes.addressof(size), 0)
    call("cuLaunchKernel", f, 1, 1, 1, N, 1, 1, 0, None, None, extra)
    sim.check("parameters in a buffer", words(p), [5] * N)
    size.value -= 4
    expect("a buffer too short", 1, "cuLaunchKernel", f, 1, 1, 1, N, 1, 1, 0, None, None, extra)
    expect("both ways at once", 1, "cuLaunchKernel", f, 1, 1, 1, N, 1, 1, 0, None, sim.argv([p, ("u32", 1), ("u32", 1)]), extra)
    attr = Attribute(2, 0, (ctypes.c_int * 16)(1))
    cfg = Config((ctypes.c_uint * 7)(65, 1, 1, 1, 1, 1, 0), None, ctypes.pointer(attr), 1)
    args = sim.argv([p, ("u32", 2), ("u32", 0)])
    expect("cooperative by an attribute, too large", 720, "cuLaunchKernelEx", ctypes.byref(cfg), f, args, None)
    cfg.dims[0], cfg.dims[3] = 1, N
    expect("cooperative by an attribute", 0, "cuLaunchKernelEx", ctypes.byref(cfg), f, args, None)
    sim.check("launched with attributes", words(p), [10] * N)
    attr.id, attr.value[0], attr.value[1], attr.value[2] = 4, 2, 1, 1
    expect("clusters", 912, "cuLaunchKernelEx", ctypes.byref(cfg), f, args, None)


class Copy2D(ctypes.Structure):
    _fields_ = [(side + name, kind) for side in "sd" for name, kind in (
        ("x", ctypes.c_size_t), ("y", ctypes.c_size_t), ("type", ctypes.c_uint), ("host", ctypes.c_void_p), ("device", ctypes.c_uint64),
        ("array", ctypes.c_void_p), ("pitch", ctypes.c_size_t))] + [("width", ctypes.c_size_t), ("height", ctypes.c_size_t)]


class Copy3D(ctypes.Structure):
    _fields_ = [(side + name, kind) for side in "sd" for name, kind in (
        ("x", ctypes.c_size_t), ("y", ctypes.c_size_t), ("z", ctypes.c_size_t), ("lod", ctypes.c_size_t), ("type", ctypes.c_uint),
        ("host", ctypes.c_void_p), ("device", ctypes.c_uint64), ("array", ctypes.c_void_p), ("none", ctypes.c_void_p),
        ("pitch", ctypes.c_size_t), ("height", ctypes.c_size_t))] + [
            ("width", ctypes.c_size_t), ("rows", ctypes.c_size_t), ("depth", ctypes.c_size_t)]


def rectangles():
    p, pitch = dptr(), ctypes.c_size_t()
    call("cuMemAllocPitch_v2", ctypes.byref(p), ctypes.byref(pitch), ctypes.c_size_t(12), ctypes.c_size_t(4), 4)
    sim.check("rows are apart", pitch.value >= 12 and pitch.value % 512 == 0, True)
    data = ctypes.create_string_buffer(bytes(range(48)), 48)
    up = Copy2D(stype=1, shost=ctypes.addressof(data), spitch=12, dtype=2, ddevice=p.value, dpitch=pitch.value, width=12, height=4)
    call("cuMemcpy2D_v2", ctypes.byref(up))
    sim.check("the second row", sim.from_device(p.value + pitch.value, 12), bytes(range(12, 24)))
    back = ctypes.create_string_buffer(12)
    # The inner 2 by 3 of it, from (4, 1).
    down = Copy2D(stype=2, sdevice=p.value, spitch=pitch.value, sx=4, sy=1, dtype=1, dhost=ctypes.addressof(back), dpitch=4,
                  width=3, height=2)
    call("cuMemcpy2DAsync_v2", ctypes.byref(down), None)
    sim.sync()
    sim.check("a part of it", back.raw[:7], bytes([16, 17, 18, 0, 28, 29, 30]))
    down.width = 5
    expect("a row longer than its pitch", 1, "cuMemcpy2D_v2", ctypes.byref(down))
    call("cuMemsetD2D32Async", p, pitch, 0x01020304, ctypes.c_size_t(2), ctypes.c_size_t(2), None)
    call("cuMemsetD2D16Async", dptr(p.value + 8), pitch, 0xbeef, ctypes.c_size_t(1), ctypes.c_size_t(1), None)
    sim.check("filled rows", [sim.from_device(p.value + i * pitch.value, n) for i, n in enumerate((12, 12, 2))], [
              b"\4\3\2\1" * 2 + b"\xef\xbe\x0a\x0b", b"\4\3\2\1" * 2 + bytes([20, 21, 22, 23]), bytes([24, 25])])
    box = Copy3D(stype=1, shost=ctypes.addressof(data), spitch=4, sheight=3, dtype=2, ddevice=sim.alloc(64), dpitch=8, dheight=2, dz=1,
                 width=4, rows=2, depth=2)
    call("cuMemcpy3D_v2", ctypes.byref(box))
    sim.check("a box", [sim.from_device(box.ddevice + 16 + 8 * i, 4) for i in range(4)],
              [bytes(range(a, a + 4)) for a in (0, 4, 12, 16)])
    call("cuMemFree_v2", p)


def kinds_of_memory(mod):
    f = sim.function(mod, "axpb")
    host = (ctypes.c_uint32 * 1024)(*[3] * 1024)
    at = ctypes.addressof(host)
    kind = lambda p: as_number("cuPointerGetAttribute", 2, dptr(p))
    sim.check("pageable", code("cuPointerGetAttribute", ctypes.byref(ctypes.c_int()), 2, dptr(at)), 1)
    call("cuMemHostRegister_v2", ptr(at), ctypes.c_size_t(4096), 0)
    expect("twice", 712, "cuMemHostRegister_v2", ptr(at), ctypes.c_size_t(4096), 0)
    sim.launch(f, 1, N, at, ("u32", 2), ("u32", 1))
    sim.sync()
    sim.check("a kernel writes registered memory", (list(host[:N + 1]), kind(at)), ([7] * N + [3], 1))
    call("cuMemHostUnregister", ptr(at))
    expect("not registered", 713, "cuMemHostUnregister", ptr(at))
    p = number(ctypes.c_uint64, "cuMemAllocManaged", ctypes.c_size_t(4096), 1)
    ctypes.memset(p, 0, 4096)
    sim.launch(f, 1, N, p, ("u32", 1), ("u32", 9))
    sim.sync()
    sim.check("managed memory is the host's and the device's", ctypes.string_at(p, 4), b"\x09\0\0\0")
    sim.check("and is known as such", as_number("cuPointerGetAttribute", 8, dptr(p)), 1)
    sim.free(p)
    p = sim.alloc(1000)
    base, size = dptr(), ctypes.c_size_t()
    call("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), dptr(p + 500))
    sim.check("which allocation", (base.value, size.value, kind(p)), (p, 1000, 2))
    before = sim.stats("misuse")
    sim.check("none", code("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), dptr(64)) != 0, True)
    sim.check("to ask is no misuse", sim.stats("misuse"), before)
    sim.free(p)


class PoolProps(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("handles", ctypes.c_int), ("where", ctypes.c_int * 2), ("rest", ctypes.c_uint64 * 9)]


def pool_attribute(pool, which):
    value = ctypes.c_uint64()
    call("cuMemPoolGetAttribute", pool, which, ctypes.byref(value))
    return value.value


def pools(mod):
    props = PoolProps(1, 0, (ctypes.c_int * 2)(1, 0))
    pool, p, s = make("cuMemPoolCreate", ctypes.byref(props)), dptr(), make("cuStreamCreate", 1)
    used = lambda: pool_attribute(pool, 7)
    call("cuMemAllocFromPoolAsync", ctypes.byref(p), ctypes.c_size_t(4 * N), pool, s)
    call("cuMemsetD32Async", p, 4, ctypes.c_size_t(N), s)
    sim.launch(sim.function(mod, "axpb"), 1, N, p.value, ("u32", 2), ("u32", 1), stream=s)
    call("cuStreamSynchronize", s)
    sim.check("memory of a pool", (words(p.value), used()), ([9] * N, 4 * N))
    call("cuMemFreeAsync", p, s)
    call("cuStreamSynchronize", s)
    sim.check("given back", used(), 0)
    call("cuMemPoolTrimTo", pool, ctypes.c_size_t(0))
    default = ptr()
    call("cuDeviceGetDefaultMemPool", ctypes.byref(default), 0)
    call("cuDeviceSetMemPool", 0, pool)
    current = ptr()
    call("cuDeviceGetMemPool", ctypes.byref(current), 0)
    sim.check("the device's pool", current.value, pool.value)
    expect("a pool that stays", 1, "cuMemPoolDestroy", default)
    call("cuMemPoolDestroy", pool)
    call("cuDeviceGetMemPool", ctypes.byref(current), 0)
    sim.check("and the default again", current.value, default.value)


class KernelNode(ctypes.Structure):
    _fields_ = [("func", ctypes.c_void_p), ("dims", ctypes.c_uint * 7), ("params", ctypes.c_void_p), ("extra", ctypes.c_void_p),
                ("kern", ctypes.c_void_p), ("ctx", ctypes.c_void_p)]


class FillNode(ctypes.Structure):
    _fields_ = [("dst", ctypes.c_uint64), ("pitch", ctypes.c_size_t), ("value", ctypes.c_uint), ("size", ctypes.c_uint),
                ("width", ctypes.c_size_t), ("height", ctypes.c_size_t)]


class HostNode(ctypes.Structure):
    _fields_ = [("fn", ctypes.c_void_p), ("user", ctypes.c_void_p)]


class AnyNode(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("reserved", ctypes.c_int * 3), ("kernel", KernelNode), ("rest", ctypes.c_uint64 * 21)]


HOST_FN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
SEEN = []
HOST = HOST_FN(lambda user: SEEN.append(user))


def kernel_node(f, *args):
    n = KernelNode(f.value, (ctypes.c_uint * 7)(1, 1, 1, N, 1, 1, 0))
    n.keep = sim.argv(args)
    n.params = ctypes.addressof(n.keep)
    return n


def add(name, g, after, *more):
    node = ptr()
    deps = (ctypes.c_void_p * max(1, len(after)))(*[a.value for a in after])
    call(name, ctypes.byref(node), g, deps, ctypes.c_size_t(len(after)), *more)
    return node


def nodes_of(name, of):
    n = ctypes.c_size_t()
    call(name, of, None, ctypes.byref(n))
    got = (ctypes.c_void_p * max(1, n.value))()
    call(name, of, got, ctypes.byref(n))
    return set(got[:n.value])


def node_type(node):
    t = ctypes.c_int()
    call("cuGraphNodeGetType", node, ctypes.byref(t))
    return t.value


def row(src, dst):
    return Copy3D(stype=2, sdevice=src, dtype=2, ddevice=dst, width=4 * N, rows=1, depth=1)


def graphs(mod):
    """A fill, a kernel, a copy and a host function, one behind the other; each changed in the executable."""
    f, p, q, r = sim.function(mod, "axpb"), sim.alloc(4 * N), sim.alloc(4 * N), sim.alloc(4 * N)
    g = make("cuGraphCreate", 0)
    fill, copy, host = FillNode(p, 0, 3, 4, N, 1), row(p, q), HostNode(ctypes.cast(HOST, ctypes.c_void_p), 1)
    kernel = kernel_node(f, p, ("u32", 2), ("u32", 1))
    a = add("cuGraphAddMemsetNode", g, [], ctypes.byref(fill), ctx)
    b = add("cuGraphAddKernelNode_v2", g, [a], ctypes.byref(kernel))
    c = add("cuGraphAddMemcpyNode", g, [b], ctypes.byref(copy), ctx)
    d = add("cuGraphAddHostNode", g, [c], ctypes.byref(host))
    ten, hundred = kernel_node(f, q, ("u32", 10), ("u32", 0)), kernel_node(f, r, ("u32", 100), ("u32", 0))
    generic = AnyNode(0, (ctypes.c_int * 3)(), ten)
    e = add("cuGraphAddNode", g, [d], ctypes.byref(generic))
    sim.check("what begins", nodes_of("cuGraphGetRootNodes", g), {a.value})
    sim.check("before it", nodes_of("cuGraphNodeGetDependencies", c), {b.value})
    sim.check("and behind", nodes_of("cuGraphNodeGetDependentNodes", c), {d.value})
    sim.check("what they are", [node_type(n) for n in (a, b, c, d, e)], [2, 0, 1, 3, 0])
    x = make("cuGraphInstantiateWithFlags", g, ctypes.c_uint64(0))
    call("cuGraphUpload", x, None)
    call("cuGraphLaunch", x, None)
    sim.check("in their order", (words(p), words(q), list(SEEN)), ([7] * N, [70] * N, [1]))
    # Each by itself in what is instantiated; the graph stays as it is.
    fill.value, host.user = 5, 2
    call("cuGraphExecMemsetNodeSetParams", x, a, ctypes.byref(fill), ctx)
    call("cuGraphExecKernelNodeSetParams_v2", x, b, ctypes.byref(kernel_node(f, p, ("u32", 1), ("u32", 1))))
    call("cuGraphExecMemcpyNodeSetParams", x, c, ctypes.byref(row(p, r)), ctx)
    call("cuGraphExecHostNodeSetParams", x, d, ctypes.byref(host))
    generic.kernel = hundred
    call("cuGraphExecNodeSetParams", x, e, ctypes.byref(generic))
    call("cuGraphLaunch", x, None)
    sim.check("changed", (words(p), words(q), words(r), list(SEEN)), ([6] * N, [70] * N, [600] * N, [1, 2]))
    expect("a node of another type", 1, "cuGraphExecMemsetNodeSetParams", x, b, ctypes.byref(fill), ctx)
    # The graph itself: an edge gone, a node gone, one more edge.
    call("cuGraphKernelNodeSetParams_v2", b, ctypes.byref(kernel_node(f, p, ("u32", 3), ("u32", 0))))
    call("cuGraphDestroyNode", e)
    call("cuGraphRemoveDependencies", g, ctypes.byref(c), ctypes.byref(d), ctypes.c_size_t(1))
    sim.check("nothing behind it", nodes_of("cuGraphNodeGetDependentNodes", c), set())
    call("cuGraphAddDependencies", g, ctypes.byref(c), ctypes.byref(d), ctypes.c_size_t(1))
    expect("an edge back", 1, "cuGraphAddDependencies", g, ctypes.byref(ptr(1)), ctypes.byref(d), ctypes.c_size_t(1))
    y = make("cuGraphInstantiateWithFlags", g, ctypes.c_uint64(0))
    call("cuGraphLaunch", y, None)
    sim.check("the graph's own parameters", (words(q), list(SEEN)), ([9] * N, [1, 2, 1]))
    events(mod, p)


def events(mod, p):
    """A record in a graph is what a stream outside waits for, and a wait in it is for a record outside."""
    f, a, b = sim.function(mod, "axpb"), make("cuStreamCreate", 1), make("cuStreamCreate", 1)
    outside, inside = make("cuEventCreate", 2), make("cuEventCreate", 2)
    sim.to_device(struct.pack(f"<{N}I", *[1] * N), p)
    g = make("cuGraphCreate", 0)
    w = add("cuGraphAddEventWaitNode", g, [], outside)
    k = add("cuGraphAddKernelNode_v2", g, [w], ctypes.byref(kernel_node(f, p, ("u32", 10), ("u32", 0))))
    add("cuGraphAddEventRecordNode", g, [k], inside)
    x = make("cuGraphInstantiateWithFlags", g, ctypes.c_uint64(0))
    gate = sim.to_device(bytes(8))
    call("cuStreamWaitValue32_v2", a, dptr(gate), 1, 0)
    sim.launch(f, 1, N, p, ("u32", 1), ("u32", 1), stream=a)
    call("cuEventRecord", outside, a)
    call("cuGraphLaunch", x, b)
    c = make("cuStreamCreate", 1)
    call("cuStreamWaitEvent", c, inside, 0)
    sim.launch(f, 1, N, p, ("u32", 1), ("u32", 3), stream=c)
    expect("not yet", 600, "cuStreamQuery", c)
    call("cuStreamWriteValue64_v2", make("cuStreamCreate", 1), dptr(gate), ctypes.c_uint64(1), 0)
    call("cuStreamSynchronize", c)
    sim.check("in order by events of graphs", words(p), [23] * N)
    call("cuEventRecordWithFlags", inside, c, 0)
    call("cuEventSynchronize", inside)
    expect("done", 0, "cuEventQuery", inside)


class Value(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_int), ("address", ctypes.c_uint64), ("value", ctypes.c_uint64),
                ("flags", ctypes.c_uint), ("rest", ctypes.c_uint64 * 2)]


def values():
    s, t, p = make("cuStreamCreate", 1), make("cuStreamCreate", 1), sim.to_device(bytes(16))
    call("cuStreamWaitValue64_v2", s, dptr(p), ctypes.c_uint64(1 << 40), 0)  # at least
    call("cuStreamWriteValue32_v2", s, dptr(p + 8), 7, 0)
    ops = (Value * 2)(Value(5, p, 3 << 40, 0), Value(1, p + 8, 7, 1))  # write 64 bits, wait for 32
    expect("waiting", 600, "cuStreamQuery", s)
    call("cuStreamBatchMemOp_v2", t, 2, ops, 0)
    call("cuStreamSynchronize", t)
    call("cuStreamSynchronize", s)
    sim.check("values", struct.unpack("<QII", sim.from_device(p, 16)), (3 << 40, 7, 0))
    expect("misaligned", 1, "cuStreamWriteValue64_v2", s, dptr(p + 4), ctypes.c_uint64(0), 0)


def states():
    """What was set is what is told."""
    limit = lambda which: number(ctypes.c_size_t, "cuCtxGetLimit", which)
    call("cuCtxSetLimit", 0, ctypes.c_size_t(4096))
    sim.check("a limit", limit(0), 4096)
    expect("no limit", 215, "cuCtxSetLimit", 99, ctypes.c_size_t(1))
    s = make("cuStreamCreateWithPriority", 1, -3)
    flags, priority, of = ctypes.c_uint(), ctypes.c_int(), ptr()
    call("cuStreamGetFlags", s, ctypes.byref(flags))
    call("cuStreamGetPriority", s, ctypes.byref(priority))
    call("cuStreamGetCtx", s, ctypes.byref(of))
    sim.check("a stream", (flags.value, priority.value, of.value), (1, -3, ctx.value))
    least, greatest = ctypes.c_int(), ctypes.c_int()
    call("cuCtxGetStreamPriorityRange", ctypes.byref(least), ctypes.byref(greatest))
    sim.check("priorities", (least.value, greatest.value), (0, -5))
    name, device = ctypes.create_string_buffer(64), ctypes.c_int()
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDeviceGetName", name, 64, device)
    attribute = lambda which: as_number("cuDeviceGetAttribute", which, device)
    sim.check("the device", (bool(name.value), attribute(10), attribute(75), attribute(76)), (True, 32, 9, 0))
    expect("no such device", 101, "cuDeviceGet", ctypes.byref(device), 99)
    sim.check("no primary context", primary(), (0, 0))
    prim = make("cuDevicePrimaryCtxRetain", 0)
    sim.check("one", (primary(), bool(prim.value)), ((0, 1), True))
    call("cuDevicePrimaryCtxRelease_v2", 0)
    sim.check("none again", primary(), (0, 0))
    expect("released too often", 201, "cuDevicePrimaryCtxRelease_v2", 0)


def primary():
    flags, active = ctypes.c_uint(), ctypes.c_int()
    call("cuDevicePrimaryCtxGetState", 0, ctypes.byref(flags), ctypes.byref(active))
    return flags.value, active.value


ctx = sim.init()
mod = sim.module(KERNELS)
functions(mod)
occupancy(mod)
launches(mod)
rectangles()
kinds_of_memory(mod)
pools(mod)
graphs(mod)
values()
states()
sim.finish()
