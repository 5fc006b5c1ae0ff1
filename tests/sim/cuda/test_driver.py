#!/usr/bin/env python3
"""The driver API: errors at the call, memory, streams and their order, events, capture, graphs, look-up by name."""
import ctypes
import os
import struct
import threading

import simdrv as sim
from simdrv import call, code, dptr, expect, make, ptr

KERNELS = sim.HEADER + """
.visible .entry fill(.param .u64 p, .param .u32 v, .param .u32 n) {
  .reg .b32 %r<8>; .reg .b64 %rd<4>; .reg .pred %p;
  ld.param.u64 %rd0, [p]; ld.param.u32 %r0, [v]; ld.param.u32 %r1, [n];
  mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.u32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p, %r5, %r1; @%p ret; mul.wide.u32 %rd1, %r5, 4; add.u64 %rd2, %rd0, %rd1; st.global.u32 [%rd2], %r0; ret; }
.visible .entry axpb(.param .u64 p, .param .u32 a, .param .u32 b) {
  .reg .b32 %r<8>; .reg .b64 %rd<4>;
  ld.param.u64 %rd0, [p]; ld.param.u32 %r0, [a]; ld.param.u32 %r1, [b]; mov.u32 %r2, %tid.x;
  mul.wide.u32 %rd1, %r2, 4; add.u64 %rd2, %rd0, %rd1; ld.global.u32 %r3, [%rd2]; mad.lo.u32 %r3, %r3, %r0, %r1;
  st.global.u32 [%rd2], %r3; ret; }
.visible .entry bounded(.param .u8 a, .param .u64 b, .param .align 4 .b8 c[12]) .maxntid 64 { ret; }
.visible .entry spin(.param .u64 flag) {
  .reg .b32 %r<2>; .reg .b64 %rd<2>; .reg .pred %p;
  ld.param.u64 %rd0, [flag]; L: ld.volatile.global.u32 %r0, [%rd0]; setp.eq.u32 %p, %r0, 0; @%p bra L; ret; }
.visible .global .align 4 .u32 counter = 11;
"""


def words(p, n):
    return list(struct.unpack(f"<{n}I", sim.from_device(p, 4 * n)))


def errors(mod):
    f = sim.function(mod, "bounded")
    one = (1, 1, 1)
    args = sim.argv([("u8", 1), 2, 3])
    expect("zero grid", 1, "cuLaunchKernel", f, 0, 1, 1, *one, 0, None, args, None)
    expect("block too large", 1, "cuLaunchKernel", f, *one, 1025, 1, 1, 0, None, args, None)
    expect(".maxntid", 1, "cuLaunchKernel", f, *one, 65, 1, 1, 0, None, args, None)
    expect("too much shared memory", 1, "cuLaunchKernel", f, *one, *one, 49153, None, args, None)
    expect("no parameters", 1, "cuLaunchKernel", f, *one, *one, 0, None, None, None)
    expect("no function", 400, "cuLaunchKernel", ptr(0x1234), *one, *one, 0, None, args, None)
    expect("no stream", 400, "cuLaunchKernel", f, *one, *one, 0, ptr(0x1234), args, None)
    expect("unknown function", 500, "cuModuleGetFunction", ctypes.byref(ptr()), mod, b"nope")
    expect("bad PTX", 218, "cuModuleLoadData", ctypes.byref(ptr()), b".version 8.0\n.target sm_90\n.entry x { nonsense.u32; }\0")
    expect("PTX of a newer device", 209, "cuModuleLoadData", ctypes.byref(ptr()), b".version 8.7\n.target sm_100\n.entry x { ret; }\0")
    expect("machine code", 209, "cuModuleLoadData", ctypes.byref(ptr()), b"\x7fELF\0")
    log = ctypes.create_string_buffer(256)
    code("cuModuleLoadDataEx", ctypes.byref(ptr()), b".version 8.0\n.target sm_90\n.visible .entry x() {\n nonsense.u32; }\0", 2,
         (ctypes.c_int * 2)(5, 6), (ctypes.c_void_p * 2)(ctypes.addressof(log), 256))
    sim.check("the log names the line", b"line 4" in log.value and b"nonsense" in log.value, True)
    expect("too much memory", 2, "cuMemAlloc_v2", ctypes.byref(dptr()), ctypes.c_size_t(1 << 40))
    expect("no bytes", 1, "cuMemAlloc_v2", ctypes.byref(dptr()), ctypes.c_size_t(0))
    p = sim.alloc(100)
    expect("free of an inner address", 1, "cuMemFree_v2", dptr(p + 4))
    expect("copy past the end", 1, "cuMemcpyHtoD_v2", dptr(p), bytes(200), ctypes.c_size_t(200))
    sim.free(p)
    expect("free twice", 1, "cuMemFree_v2", dptr(p))
    expect("copy to freed memory", 1, "cuMemcpyHtoD_v2", dptr(p), b"x", ctypes.c_size_t(1))
    off, size = ctypes.c_size_t(), ctypes.c_size_t()
    layout = []
    for i in range(3):
        call("cuFuncGetParamInfo", f, ctypes.c_size_t(i), ctypes.byref(off), ctypes.byref(size))
        layout.append((off.value, size.value))
    sim.check("parameter layout", layout, [(0, 1), (8, 8), (16, 12)])
    expect("past the last parameter", 1, "cuFuncGetParamInfo", f, ctypes.c_size_t(3), ctypes.byref(off), ctypes.byref(size))
    name = ctypes.c_char_p()
    call("cuGetErrorName", 700, ctypes.byref(name))
    sim.check("error name", name.value, b"CUDA_ERROR_ILLEGAL_ADDRESS")


def memory(mod):
    def usage():
        f, t = ctypes.c_size_t(), ctypes.c_size_t()
        call("cuMemGetInfo_v2", ctypes.byref(f), ctypes.byref(t))
        return t.value - f.value
    before = usage()
    p = sim.alloc(1 << 20)
    sim.check("usage grows", usage() - before, 1 << 20)
    call("cuMemsetD32_v2", dptr(p), 0x01020304, ctypes.c_size_t(4))
    call("cuMemsetD16_v2", dptr(p + 4), 0xbeef, ctypes.c_size_t(1))
    call("cuMemsetD8_v2", dptr(p + 8), 0xaa, ctypes.c_size_t(2))
    sim.check("memset", words(p, 4), [0x01020304, 0x0102beef, 0x0102aaaa, 0x01020304])
    call("cuMemsetD2D8_v2", dptr(p), ctypes.c_size_t(8), 7, ctypes.c_size_t(2), ctypes.c_size_t(2))
    sim.check("memset 2D", sim.from_device(p, 10), bytes([7, 7, 2, 1, 0xef, 0xbe, 2, 1, 7, 7]))
    expect("misaligned fill", 1, "cuMemsetD32_v2", dptr(p + 2), 0, ctypes.c_size_t(1))
    sim.free(p)
    sim.check("usage shrinks", usage(), before)
    host = ptr()
    call("cuMemHostAlloc", ctypes.byref(host), ctypes.c_size_t(4096), 1)
    dev = dptr()
    call("cuMemHostGetDevicePointer_v2", ctypes.byref(dev), host, 0)
    sim.launch(sim.function(mod, "fill"), 1, 64, dev.value, ("u32", 9), ("u32", 64))
    sim.sync()
    sim.check("a kernel writes pinned memory", ctypes.string_at(host.value, 8), struct.pack("<2I", 9, 9))
    call("cuMemFreeHost", host)
    g, n = dptr(), ctypes.c_size_t()
    call("cuModuleGetGlobal_v2", ctypes.byref(g), ctypes.byref(n), mod, b"counter")
    sim.check("module variable", (n.value, words(g.value, 1)), (4, [11]))

    class Prop(ctypes.Structure):
        _fields_ = [("type", ctypes.c_int), ("h", ctypes.c_int), ("loc", ctypes.c_int * 2), ("w", ctypes.c_void_p), ("f", ctypes.c_char * 8)]
    prop = Prop(1, 0, (ctypes.c_int * 2)(1, 0))
    size = 2 << 20
    va, h = dptr(), ctypes.c_uint64()
    call("cuMemAddressReserve", ctypes.byref(va), ctypes.c_size_t(2 * size), ctypes.c_size_t(0), dptr(0), ctypes.c_uint64(0))
    call("cuMemCreate", ctypes.byref(h), ctypes.c_size_t(size), ctypes.byref(prop), ctypes.c_uint64(0))
    for i in range(2):  # the same memory, twice
        call("cuMemMap", dptr(va.value + i * size), ctypes.c_size_t(size), ctypes.c_size_t(0), h, ctypes.c_uint64(0))
    expect("no access yet", 1, "cuMemcpyHtoD_v2", va, b"x", ctypes.c_size_t(1))
    call("cuMemSetAccess", va, ctypes.c_size_t(2 * size), (ctypes.c_int * 3)(1, 0, 3), ctypes.c_size_t(1))
    sim.launch(sim.function(mod, "fill"), 1, 4, va.value, ("u32", 5), ("u32", 4))
    sim.check("one memory under two addresses", words(va.value + size, 4), [5] * 4)
    call("cuMemUnmap", va, ctypes.c_size_t(2 * size))
    call("cuMemRelease", h)
    call("cuMemAddressFree", va, ctypes.c_size_t(2 * size))
    sim.check("nothing is left", usage(), before)


def streams(mod):
    fill, axpb = sim.function(mod, "fill"), sim.function(mod, "axpb")
    p = sim.to_device(bytes(4 * 32))
    # Order between the legacy stream and a blocking one, without any event.
    s = make("cuStreamCreate", 0)
    for i in range(20):
        sim.launch(axpb, 1, 32, p, ("u32", 2), ("u32", 1), stream=s)
        sim.launch(axpb, 1, 32, p, ("u32", 1), ("u32", 3))
    want = 0
    for i in range(20):
        want = (want * 2 + 1 + 3) & 0xffffffff
    sim.check("legacy stream orders", words(p, 32), [want] * 32)
    # Two non-blocking streams, ordered by an event and by nothing else.
    a, b = make("cuStreamCreate", 1), make("cuStreamCreate", 1)
    e = make("cuEventCreate", 0)
    want = 0
    call("cuMemsetD32_v2", dptr(p), 0, ctypes.c_size_t(32))
    sim.sync()
    for i in range(20):
        sim.launch(axpb, 1, 32, p, ("u32", 3), ("u32", i), stream=a)
        call("cuEventRecord", e, a)
        call("cuStreamWaitEvent", b, e, 0)
        sim.launch(axpb, 1, 32, p, ("u32", 1), ("u32", 7), stream=b)
        call("cuEventRecord", e, b)
        call("cuStreamWaitEvent", a, e, 0)
        want = (want * 3 + i + 7) & 0xffffffff
    sim.sync()
    sim.check("events order", words(p, 32), [want] * 32)
    # A kernel that runs until the host lets it go: streams really are asynchronous.
    host = ptr()
    call("cuMemHostAlloc", ctypes.byref(host), ctypes.c_size_t(4096), 0)
    ctypes.memset(host.value, 0, 8)
    sim.launch(sim.function(mod, "spin"), 1, 1, host.value, stream=a)
    call("cuEventRecord", e, a)
    expect("query of a busy stream", 600, "cuStreamQuery", a)
    expect("query of a pending event", 600, "cuEventQuery", e)
    sim.launch(fill, 1, 32, p, ("u32", 1), ("u32", 32), stream=b)
    call("cuStreamSynchronize", b)
    expect("still busy", 600, "cuStreamQuery", a)
    ctypes.memset(host.value, 1, 1)
    call("cuStreamSynchronize", a)
    expect("done", 0, "cuEventQuery", e)
    # Host functions run in their stream's order; values are waited for and written.
    seen = []
    FN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    cb = FN(lambda user: seen.append((user, code("cuStreamQuery", None))))
    val = sim.to_device(bytes(8))
    call("cuStreamWaitValue32_v2", a, dptr(val), 5, 1)
    call("cuLaunchHostFunc", a, cb, ptr(1))
    call("cuLaunchHostFunc", b, cb, ptr(2))
    call("cuStreamSynchronize", b)
    call("cuStreamWriteValue32_v2", b, dptr(val), 5, 0)
    call("cuStreamSynchronize", a)
    sim.check("host functions", seen, [(2, 800), (1, 800)])  # and no driver call is allowed in them
    # A pageable source may be overwritten as soon as the call is back.
    buf = ctypes.create_string_buffer(b"\1" * 64, 64)
    call("cuMemcpyHtoDAsync_v2", dptr(p), buf, ctypes.c_size_t(64), a)
    ctypes.memset(buf, 2, 64)
    call("cuStreamSynchronize", a)
    sim.check("pageable source", sim.from_device(p, 64), b"\1" * 64)
    # Per-thread default streams: one for each thread, none of them the legacy one.
    ids = []
    def ask():
        call("cuCtxSetCurrent", ctx)
        for name in ("cuStreamGetId", "cuStreamGetId_ptsz"):
            v = ctypes.c_uint64()
            call(name, None, ctypes.byref(v))
            ids.append(v.value)
    for _ in range(2):
        t = threading.Thread(target=ask)
        t.start()
        t.join()
    sim.check("per-thread streams", (ids[0] == ids[2], len(set(ids))), (True, 3))
    for st in (s, a, b):
        call("cuStreamDestroy_v2", st)
    expect("a stream that is gone", 400, "cuStreamSynchronize", s)
    call("cuMemFreeHost", host)
    q = dptr()
    call("cuMemAllocAsync", ctypes.byref(q), ctypes.c_size_t(256), None)
    sim.launch(fill, 1, 64, q.value, ("u32", 6), ("u32", 64))
    sim.check("stream-ordered memory", words(q.value, 64), [6] * 64)
    call("cuMemFreeAsync", q, None)
    sim.sync()
    expect("and it is gone", 1, "cuMemcpyDtoH_v2", ctypes.create_string_buffer(4), q, ctypes.c_size_t(4))


class KernelNode(ctypes.Structure):
    _fields_ = [("func", ctypes.c_void_p), ("dims", ctypes.c_uint * 7), ("params", ctypes.c_void_p), ("extra", ctypes.c_void_p),
                ("kern", ctypes.c_void_p), ("ctx", ctypes.c_void_p)]


def node_params(f, block, *args):
    p = KernelNode(f.value, (ctypes.c_uint * 7)(1, 1, 1, block, 1, 1, 0))
    p.keep = sim.argv(args)
    p.params = ctypes.addressof(p.keep)
    return p


def graphs(mod):
    axpb = sim.function(mod, "axpb")
    p = sim.to_device(bytes(4 * 32))
    # By capture: a fork over two streams and a join; the two branches work on different words.
    a, b = make("cuStreamCreate", 1), make("cuStreamCreate", 1)
    e1, e2 = make("cuEventCreate", 2), make("cuEventCreate", 2)
    call("cuStreamBeginCapture_v2", a, 0)
    sim.launch(axpb, 1, 32, p, ("u32", 1), ("u32", 1), stream=a)
    call("cuEventRecord", e1, a)
    call("cuStreamWaitEvent", b, e1, 0)
    sim.launch(axpb, 1, 16, p, ("u32", 2), ("u32", 0), stream=a)
    sim.launch(axpb, 1, 16, p + 64, ("u32", 3), ("u32", 0), stream=b)
    call("cuEventRecord", e2, b)
    call("cuStreamWaitEvent", a, e2, 0)
    sim.launch(axpb, 1, 32, p, ("u32", 1), ("u32", 5), stream=a)
    g = ptr()
    call("cuStreamEndCapture", a, ctypes.byref(g))
    n = ctypes.c_size_t()
    call("cuGraphGetNodes", g, None, ctypes.byref(n))
    edges = ctypes.c_size_t()
    call("cuGraphGetEdges", g, None, None, ctypes.byref(edges))
    sim.check("captured", (n.value, edges.value), (4, 4))
    sim.check("nothing ran", words(p, 1), [0])
    x = make("cuGraphInstantiateWithFlags", g, ctypes.c_uint64(0))
    v1 = v2 = 0
    for _ in range(3):
        call("cuGraphLaunch", x, a)
        v1, v2 = (v1 + 1) * 2 + 5, (v2 + 1) * 3 + 5
    call("cuStreamSynchronize", a)
    sim.check("launched three times", words(p, 32), [v1] * 16 + [v2] * 16)
    # What a launch took along does not change when the executable does.
    nodes = (ctypes.c_void_p * 4)()
    call("cuGraphGetNodes", g, nodes, ctypes.byref(n))
    call("cuGraphLaunch", x, a)
    new = node_params(axpb, 32, p, ("u32", 0), ("u32", 100))
    call("cuGraphExecKernelNodeSetParams_v2", x, ptr(nodes[0]), ctypes.byref(new))
    call("cuStreamSynchronize", a)
    sim.check("the old parameters", words(p, 1), [(v1 + 1) * 2 + 5])
    call("cuGraphLaunch", x, a)
    call("cuStreamSynchronize", a)
    sim.check("the new parameters", words(p, 32), [205] * 16 + [305] * 16)
    call("cuGraphNodeSetEnabled", x, ptr(nodes[0]), 0)
    call("cuGraphLaunch", x, a)
    call("cuStreamSynchronize", a)
    sim.check("a disabled node", words(p, 1), [415])
    got = KernelNode()
    call("cuGraphKernelNodeGetParams_v2", ptr(nodes[3]), ctypes.byref(got))
    sim.check("parameters of a node", (got.func, list(got.dims)), (axpb.value, [1, 1, 1, 32, 1, 1, 0]))
    # By hand, with a copy, a fill and a child; then an update from another graph of the same shape.
    def build(mul):
        h = make("cuGraphCreate", 0)
        k = ptr()
        class Fill(ctypes.Structure):
            _fields_ = [("dst", ctypes.c_uint64), ("pitch", ctypes.c_size_t), ("v", ctypes.c_uint), ("e", ctypes.c_uint),
                        ("w", ctypes.c_size_t), ("h", ctypes.c_size_t)]
        f = Fill(p, 0, 1, 4, 32, 1)
        m = ptr()
        call("cuGraphAddMemsetNode", ctypes.byref(m), h, None, ctypes.c_size_t(0), ctypes.byref(f), ctx)
        np = node_params(axpb, 32, p, ("u32", mul), ("u32", 0))
        call("cuGraphAddKernelNode_v2", ctypes.byref(k), h, (ctypes.c_void_p * 1)(m.value), ctypes.c_size_t(1), ctypes.byref(np))
        return h, k
    h, k = build(6)
    c = ptr()
    call("cuGraphAddChildGraphNode", ctypes.byref(c), h, (ctypes.c_void_p * 1)(k.value), ctypes.c_size_t(1), build(7)[0])
    y = make("cuGraphInstantiateWithFlags", h, ctypes.c_uint64(0))
    call("cuGraphLaunch", y, None)
    sim.check("a child graph runs last", words(p, 32), [7] * 32)
    z = make("cuGraphInstantiateWithFlags", build(2)[0], ctypes.c_uint64(0))
    call("cuGraphExecUpdate_v2", z, build(9)[0], None)
    call("cuGraphLaunch", z, None)
    sim.check("updated", words(p, 32), [9] * 32)
    info = (ctypes.c_uint64 * 3)()
    expect("another shape", 910, "cuGraphExecUpdate_v2", z, h, info)
    sim.check("the reason", info[0] & 0xffffffff, 2)
    call("cuGraphExecDestroy", x)
    expect("gone", 1, "cuGraphLaunch", x, a)


PRIORITY, DOMAIN, COOPERATIVE, SYNC_POLICY = 8, 10, 2, 3


def value(x):
    return (ctypes.c_int32 * 16)(x)


def attribute(entry, of, which):
    got = (ctypes.c_int32 * 16)(-77)
    call(entry, of, which, got)
    return got[0]


def attributes(mod):
    axpb, set_node, get_node = sim.function(mod, "axpb"), "cuGraphKernelNodeSetAttribute", "cuGraphKernelNodeGetAttribute"
    p = sim.to_device(struct.pack("<I", 1))
    g, low, high, empty = make("cuGraphCreate", 0), ptr(), ptr(), ptr()
    for node, mul, add in ((low, 2, 0), (high, 1, 5)):
        np = node_params(axpb, 1, p, ("u32", mul), ("u32", add))
        call("cuGraphAddKernelNode_v2", ctypes.byref(node), g, None, ctypes.c_size_t(0), ctypes.byref(np))
    call("cuGraphAddEmptyNode", ctypes.byref(empty), g, None, ctypes.c_size_t(0))
    sim.check("no priority", attribute(get_node, high, PRIORITY), 0)
    call(set_node, high, PRIORITY, value(-3))
    sim.check("a node's priority", attribute(get_node, high, PRIORITY), -3)
    expect("an attribute of an empty node", 1, set_node, empty, PRIORITY, value(0))
    expect("an attribute of streams", 1, set_node, high, SYNC_POLICY, value(1))
    expect("no attribute", 1, set_node, high, 99, value(1))
    expect("a priority that there is not", 1, set_node, high, PRIORITY, value(1))
    expect("no value", 1, set_node, high, PRIORITY, None)
    # What has the greater priority goes first of what nothing orders, also in a copy of the graph.
    for which in (g, make("cuGraphClone", g)):
        sim.to_device(struct.pack("<I", 1), p)
        call("cuGraphLaunch", make("cuGraphInstantiateWithFlags", which, ctypes.c_uint64(0)), None)
        sim.check("the greater priority first", words(p, 1), [12])
    # A captured kernel has the attributes of its stream.
    a, b = make("cuStreamCreateWithPriority", 1, -2), make("cuStreamCreate", 1)
    sim.check("a stream's priority", attribute("cuStreamGetAttribute", a, PRIORITY), -2)
    expect("an attribute of nodes", 1, "cuStreamSetAttribute", a, COOPERATIVE, value(1))
    call("cuStreamSetAttribute", a, DOMAIN, value(1))
    call("cuStreamCopyAttributes", b, a)
    call("cuStreamSetAttribute", b, PRIORITY, value(-4))
    for s, priority in ((a, -2), (b, -4)):
        call("cuStreamBeginCapture_v2", s, 0)
        sim.launch(axpb, 1, 1, p, ("u32", 1), ("u32", 1), stream=s)
        captured, node = ptr(), ptr()
        call("cuStreamEndCapture", s, ctypes.byref(captured))
        call("cuGraphGetNodes", captured, ctypes.byref(node), ctypes.byref(ctypes.c_size_t(1)))
        sim.check("captured attributes", (attribute(get_node, node, PRIORITY), attribute(get_node, node, DOMAIN)), (priority, 1))
    call("cuGraphKernelNodeCopyAttributes", low, high)
    sim.check("a copied priority", attribute(get_node, low, PRIORITY), -3)


def captures(mod):
    f = sim.function(mod, "fill")
    p = sim.alloc(4096)
    a, b = make("cuStreamCreate", 1), make("cuStreamCreate", 0)
    e = make("cuEventCreate", 2)
    g = ptr()
    def begin(s, mode=0):
        call("cuStreamBeginCapture_v2", s, mode)
    def end(s):
        return code("cuStreamEndCapture", s, ctypes.byref(g))
    expect("not the legacy stream", 900, "cuStreamBeginCapture_v2", None, 0)
    begin(a)
    expect("synchronise while capturing", 900, "cuStreamSynchronize", a)
    sim.check("spoils it", end(a), 901)
    begin(a)
    expect("allocation while capturing", 900, "cuMemAlloc_v2", ctypes.byref(dptr()), ctypes.c_size_t(16))
    sim.check("spoils it too", end(a), 901)
    begin(a, 2)
    q = sim.alloc(16)
    sim.check("but not in relaxed mode", (end(a), q != 0), (0, True))
    begin(b)
    expect("legacy launch beside a blocking capture", 906, "cuLaunchKernel", f, 1, 1, 1, 1, 1, 1, 0, None,
           sim.argv([p, ("u32", 1), ("u32", 1)]), None)
    sim.check("which is spoilt", end(b), 901)
    begin(a)
    call("cuEventRecord", e, a)
    expect("a captured event cannot be queried", 907, "cuEventQuery", e)
    call("cuStreamWaitEvent", b, e, 0)
    sim.launch(f, 1, 1, p, ("u32", 1), ("u32", 1), stream=b)
    expect("end on the wrong stream", 903, "cuStreamEndCapture", b, ctypes.byref(g))
    sim.check("a stream that never came back", end(a), 904)
    begin(a)
    begin(b)
    call("cuEventRecord", e, a)
    expect("two captures do not merge", 902, "cuStreamWaitEvent", b, e, 0)
    end(a), end(b)
    expect("no capture to end", 401, "cuStreamEndCapture", a, ctypes.byref(g))


def by_name():
    def find(name, version, flags=0):
        fn, st = ptr(), ctypes.c_int(-1)
        rc = code("cuGetProcAddress_v2", name, ctypes.byref(fn), version, ctypes.c_uint64(flags), ctypes.byref(st))
        return rc, st.value, fn.value
    addr = lambda name: ctypes.cast(getattr(sim.cu, name), ctypes.c_void_p).value
    sim.check("versioned", find(b"cuMemAlloc", 12000), (0, 0, addr("cuMemAlloc_v2")))
    sim.check("per-thread", find(b"cuLaunchKernel", 12000, 2), (0, 0, addr("cuLaunchKernel_ptsz")))
    sim.check("legacy asked for", find(b"cuLaunchKernel", 12000, 1), (0, 0, addr("cuLaunchKernel")))
    sim.check("older form", find(b"cuGraphInstantiate", 11000), (0, 0, addr("cuGraphInstantiate_v2")))
    sim.check("newer form", find(b"cuGraphInstantiate", 12000), (0, 0, addr("cuGraphInstantiateWithFlags")))
    sim.check("its own forms", [find(b"cuGetProcAddress", v)[2] for v in (11030, 12000)],
              [addr("cuGetProcAddress"), addr("cuGetProcAddress_v2")])
    sim.check("too old a caller", find(b"cuLaunchKernelEx", 11000), (0, 2, None))
    sim.check("unknown", find(b"cuNope", 12000), (0, 1, None))
    expect("unknown, first form", 500, "cuGetProcAddress", b"cuNope", ctypes.byref(ptr()), 12000, ctypes.c_uint64(0))


def contexts(mod):
    cur = ptr()
    other = make("cuCtxCreate_v2", 0, 0)
    call("cuCtxGetCurrent", ctypes.byref(cur))
    sim.check("a new context is current", cur.value, other.value)
    p = sim.alloc(64)
    expect("a function of another context", 400, "cuLaunchKernel", sim.function(mod, "fill"), 1, 1, 1, 1, 1, 1, 0, None,
           sim.argv([p, ("u32", 1), ("u32", 1)]), None)
    call("cuCtxDestroy_v2", other)
    call("cuCtxGetCurrent", ctypes.byref(cur))
    sim.check("the one before comes back", cur.value, ctx.value)
    expect("its memory went with it", 1, "cuMemFree_v2", dptr(p))
    expect("it cannot be current again", 201, "cuCtxSetCurrent", other)
    prim = make("cuDevicePrimaryCtxRetain", 0)
    sim.check("one primary context", make("cuDevicePrimaryCtxRetain", 0).value, prim.value)
    call("cuCtxPushCurrent_v2", prim)
    sim.alloc(64)
    call("cuDevicePrimaryCtxReset_v2", 0)
    expect("usable after a reset", 0, "cuMemAlloc_v2", ctypes.byref(dptr()), ctypes.c_size_t(64))
    call("cuCtxPopCurrent_v2", ctypes.byref(cur))
    lib = ptr()
    call("cuLibraryLoadData", ctypes.byref(lib), KERNELS.encode() + b"\0", None, None, 0, None, None, 0)
    kern = make("cuLibraryGetKernel", lib, b"fill")
    q = sim.alloc(64)
    sim.launch(make("cuKernelGetFunction", kern), 1, 16, q, ("u32", 8), ("u32", 16))
    sim.check("a kernel of a library", words(q, 16), [8] * 16)
    call("cuLibraryUnload", lib)
    link = ptr()
    call("cuLinkCreate_v2", 0, None, None, ctypes.byref(link))
    for part in (".func (.reg .b32 r) f(.reg .b32 x) { add.u32 r, x, 2; ret; }",
                 ".visible .entry k(.param .u64 p) { .reg .b64 %a; .reg .b32 %r<2>; ld.param.u64 %a, [p]; mov.u32 %r0, 40; "
                 "call (%r1), f, (%r0); st.global.u32 [%a], %r1; ret; }"):
        text = (sim.HEADER + part).encode()
        call("cuLinkAddData_v2", link, 1, text, ctypes.c_size_t(len(text)), b"part", 0, None, None)
    image, n = ptr(), ctypes.c_size_t()
    call("cuLinkComplete", link, ctypes.byref(image), ctypes.byref(n))
    m = make("cuModuleLoadData", image)
    call("cuLinkDestroy", link)
    sim.launch(sim.function(m, "k"), 1, 1, q)
    sim.check("linked from two parts", words(q, 1), [42])


def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(code("cuCtxSynchronize"))
    sim.check("the child of a fork has no device", os.WEXITSTATUS(os.waitpid(pid, 0)[1]), 3)


n = ctypes.c_int()
expect("before cuInit", 3, "cuDeviceGetCount", ctypes.byref(n))
call("cuInit", 0)
expect("no context", 201, "cuMemAlloc_v2", ctypes.byref(dptr()), ctypes.c_size_t(16))
ctx = sim.init()
mod = sim.module(KERNELS)
errors(mod)
memory(mod)
streams(mod)
graphs(mod)
attributes(mod)
captures(mod)
by_name()
contexts(mod)
fork()
sim.finish()
