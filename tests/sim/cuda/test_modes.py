#!/usr/bin/env python3
"""The modes: virtual clock, races, stale caches, limited residency, starving, strict, memory size, printf.

Settings are read when the library is loaded, so every case is a process of its own: without an argument
this program runs all of them, each with its environment, and compares what it prints.
"""
import ctypes
import os
import struct
import subprocess
import sys
import tempfile

COSTS = "# nanoseconds\ncall 100\nlaunch 1000\nkernel 5000\nkernel_block 10\nkernel:slow 50000\nevent 0\ngraph_launch 3000\ngraph_node 200\n" \
        "instantiate 0\ninstantiate_node 0\n"
AXPB = """
.visible .entry {name}(.param .u64 p, .param .u32 a, .param .u32 b) {{
  .reg .b32 %r<4>; .reg .b64 %rd;
  ld.param.u64 %rd, [p]; ld.param.u32 %r0, [a]; ld.param.u32 %r1, [b];
  ld.global.u32 %r2, [%rd]; mad.lo.u32 %r2, %r2, %r0, %r1; st.global.u32 [%rd], %r2; ret; }}
"""
GRID_BARRIER = """
.global .u32 n;
.visible .entry k(.param .u64 out, .param .u32 all) {
  .reg .b32 %r<4>; .reg .b64 %rd<2>; .reg .pred %p;
  ld.param.u64 %rd0, [out]; ld.param.u32 %r3, [all]; mov.u64 %rd1, n; atom.global.add.u32 %r0, [%rd1], 1;
S: ld.volatile.global.u32 %r1, [%rd1]; setp.lt.u32 %p, %r1, %r3; @%p bra S; red.global.add.u32 [%rd0], 1; ret; }
"""
# Block 0 counts to 200 and then says so; block 1 looks 2000 times and believes that this is enough.
PATIENCE = """
.visible .entry k(.param .u64 p) {
  .reg .b32 %r<4>; .reg .b64 %rd; .reg .pred %p;
  ld.param.u64 %rd, [p]; mov.u32 %r0, %ctaid.x; mov.u32 %r1, 0; setp.eq.u32 %p, %r0, 1; @%p bra LOOK;
COUNT: add.u32 %r1, %r1, 1; setp.lt.u32 %p, %r1, 200; @%p bra COUNT;
  st.volatile.global.u32 [%rd], 1; ret;
LOOK: ld.volatile.global.u32 %r2, [%rd]; add.u32 %r1, %r1, 1; setp.ne.u32 %p, %r2, 0; @%p bra SEEN;
  setp.lt.u32 %p, %r1, 2000; @%p bra LOOK; ret;
SEEN: st.global.u32 [%rd+4], 1; ret; }
"""
# Block 1 reads data, tells block 0, waits until that one has written, and reads again.
STALE = """
.visible .entry k(.param .u64 p) {{
  .reg .b32 %r<4>; .reg .b64 %rd; .reg .pred %p;
  ld.param.u64 %rd, [p]; mov.u32 %r0, %ctaid.x; setp.eq.u32 %p, %r0, 1; @%p bra ONE;
W0: ld.volatile.global.u32 %r1, [%rd+64]; setp.eq.u32 %p, %r1, 0; @%p bra W0;
  st.global.u32 [%rd], 77; membar.gl; st.volatile.global.u32 [%rd+128], 1; ret;
ONE: ld.global{nc}.u32 %r2, [%rd]; st.volatile.global.u32 [%rd+64], 1;
W1: ld.{wait}.global.u32 %r1, [%rd+128]; setp.eq.u32 %p, %r1, 0; @%p bra W1;
  {fence} ld.global{nc}.u32 %r3, [%rd]; st.global.u32 [%rd+192], %r3; ret; }}
"""
MISUSE = ["simcuda: misuse: freeing 0x3039, which no allocation begins at (error 1)",
          "simcuda: misuse: cuStreamBeginCapture_v2: operation not permitted when stream is capturing (error 900)",
          "simcuda: misuse: cuMemAlloc_v2: invalid argument (error 1)",
          "simcuda: misuse: cuCtxGetDevice: invalid argument (error 1)"]
PRINTF = """
.extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);
.global .align 1 .b8 fmt[] = {37, 100, 32, 37, 46, 49, 102, 32, 37, 115, 33, 10, 0};
.global .align 1 .b8 str[] = {97, 98, 0};
.visible .entry k() {
  .local .align 8 .b8 args[24]; .reg .b64 %rd<4>; .reg .b32 %r<2>; .reg .f64 %d;
  mov.u32 %r0, -5; st.local.u32 [args], %r0; mov.f64 %d, 2.5; st.local.f64 [args+8], %d; mov.u64 %rd0, str; st.local.u64 [args+16], %rd0;
  mov.u64 %rd1, args; cvta.local.u64 %rd1, %rd1; mov.u64 %rd2, fmt;
  { .param .b64 f; .param .b64 a; .param .b32 r; st.param.b64 [f], %rd2; st.param.b64 [a], %rd1; call.uni (r), vprintf, (f, a); ld.param.b32 %r1, [r]; }
  ret; }
"""


def case_clock():
    axpb, slow = sim.function(mod, "axpb"), sim.function(mod, "slow")
    p = sim.alloc(4)
    s, e, f = sim.make("cuStreamCreate", 1), sim.make("cuEventCreate", 0), sim.make("cuEventCreate", 0)
    sim.cu.simcuda_host_time.restype = ctypes.c_uint64
    start = sim.cu.simcuda_host_time()
    sim.call("cuEventRecord", e, s)
    for _ in range(4):
        sim.launch(axpb, 3, 1, p, ("u32", 1), ("u32", 1), stream=s)
    sim.launch(slow, 1, 1, p, ("u32", 1), ("u32", 1), stream=s)
    sim.call("cuEventRecord", f, s)
    print("host", sim.cu.simcuda_host_time() - start)  # six calls: two of 100, four and one of 1000
    print("busy", sim.code("cuStreamQuery", s))
    ms = ctypes.c_float()
    print("too early", sim.code("cuEventElapsedTime", ctypes.byref(ms), e, f))
    sim.cu.simcuda_host_work(ctypes.c_uint64(10000000))
    print("idle", sim.code("cuStreamQuery", s))
    sim.call("cuEventElapsedTime", ctypes.byref(ms), e, f)
    print("elapsed", round(ms.value * 1e6))  # the first starts with its launch, then back to back


def case_race():
    f = sim.function(mod, "axpb")
    p = sim.to_device(bytes(4))
    a, b = sim.make("cuStreamCreate", 1), sim.make("cuStreamCreate", 1)
    e = sim.make("cuEventCreate", 2)
    def pair(between):
        before = sim.stats("races")
        sim.launch(f, 1, 1, p, ("u32", 1), ("u32", 1), stream=a)
        between()
        sim.launch(f, 1, 1, p, ("u32", 1), ("u32", 1), stream=b)
        sim.sync()
        print(sim.stats("races") > before)
    def event():
        sim.call("cuEventRecord", e, a)
        sim.call("cuStreamWaitEvent", b, e, 0)
    pair(event)
    pair(lambda: sim.call("cuStreamSynchronize", a))
    pair(lambda: None)
    pair(lambda: sim.launch(f, 1, 1, sim.alloc(4), ("u32", 1), ("u32", 1)))  # the legacy stream orders no non-blocking one
    before = sim.stats("races")
    sim.launch(f, 1, 1, p, ("u32", 1), ("u32", 1), stream=a)
    sim.call("cuMemsetD32Async", sim.dptr(p), 0, ctypes.c_size_t(1), b)
    sim.sync()
    print(sim.stats("races") > before)
    # Inside a graph: by an edge, by one over a node between, by none; and what comes behind the graph.
    for joined in (True, False):
        g, x, f2, q = sim.ptr(), sim.ptr(), sim.make("cuEventCreate", 2), sim.alloc(4)
        before = sim.stats("races")
        sim.call("cuStreamBeginCapture_v2", a, 0)
        sim.launch(f, 1, 1, p, ("u32", 1), ("u32", 1), stream=a)
        sim.call("cuEventRecord", e, a)
        sim.call("cuStreamWaitEvent", b, e, 0)
        sim.launch(f, 1, 1, q, ("u32", 1), ("u32", 1), stream=b)
        sim.call("cuEventRecord", f2, b)
        if joined:
            sim.call("cuStreamWaitEvent", a, f2, 0)
        sim.launch(f, 1, 1, p, ("u32", 1), ("u32", 1), stream=b)
        sim.call("cuEventRecord", f2, b)
        if joined:
            sim.call("cuStreamWaitEvent", a, f2, 0)
        sim.launch(f, 1, 1, p, ("u32", 1), ("u32", 1), stream=a)
        sim.call("cuStreamWaitEvent", a, f2, 0)
        sim.call("cuStreamEndCapture", a, ctypes.byref(g))
        sim.call("cuGraphInstantiateWithFlags", ctypes.byref(x), g, ctypes.c_uint64(0))
        sim.call("cuGraphLaunch", x, a)
        sim.launch(f, 1, 1, p, ("u32", 1), ("u32", 1), stream=a)
        sim.call("cuGraphLaunch", x, a)
        sim.sync()
        print(sim.stats("races") > before)


def case_stale():
    fences = ("", "membar.gl;"), ("", "fence.acq_rel.gpu;"), (".nc", "membar.gl;")
    for nc, fence, wait in (("", "", "volatile"), *((*f, "volatile") for f in fences), ("", "", "acquire.gpu")):
        p = sim.to_device(bytes(256))
        sim.launch(sim.function(sim.module(sim.HEADER + STALE.format(nc=nc, fence=fence, wait=wait)), "k"), 2, 1, p)
        sim.sync()
        print(struct.unpack("<I", sim.from_device(p + 192, 4))[0])


def case_grid():
    p = sim.to_device(bytes(4))
    f = sim.function(sim.module(sim.HEADER + GRID_BARRIER), "k")
    print(sim.code("cuLaunchCooperativeKernel", f, 8, 1, 1, 1, 1, 1, 0, None, sim.argv([p, ("u32", 8)])))
    sim.sync()
    f = sim.function(sim.module(sim.HEADER + GRID_BARRIER), "k")
    sim.launch(f, 8, 1, p, ("u32", 8))
    print(sim.code("cuCtxSynchronize"))


def case_patience():
    p = sim.to_device(bytes(8))
    sim.launch(sim.function(sim.module(sim.HEADER + PATIENCE), "k"), 2, 1, p)
    sim.sync()
    print(*struct.unpack("<II", sim.from_device(p, 8)))


def case_memory():
    print(sim.code("cuMemAlloc_v2", ctypes.byref(sim.dptr()), ctypes.c_size_t(2 << 20)))
    p = sim.alloc(700 << 10)
    print(sim.code("cuMemAlloc_v2", ctypes.byref(sim.dptr()), ctypes.c_size_t(700 << 10)))
    print(sim.from_device(p, 2).hex())
    sim.free(p)
    print(sim.code("cuMemAlloc_v2", ctypes.byref(sim.dptr()), ctypes.c_size_t(700 << 10)))


def case_misuse():
    """A wrong handle, order, argument; and what is no misuse: no memory, not ready, the end of a list."""
    sim.code("cuMemFree_v2", sim.dptr(12345))
    sim.code("cuStreamBeginCapture_v2", None, 0)
    sim.code("cuMemAlloc_v2", None, ctypes.c_size_t(16))
    sim.code("cuCtxGetDevice", None)
    sim.code("cuMemAlloc_v2", ctypes.byref(sim.dptr()), ctypes.c_size_t(1 << 50))
    sim.code("cuFuncGetParamInfo", sim.function(mod, "axpb"), ctypes.c_size_t(3), ctypes.byref(sim.dptr()), None)
    print(sim.stats("misuse"))


def case_printf():
    sim.launch(sim.function(sim.module(sim.HEADER + PRINTF), "k"), 1, 2)
    sim.sync()


def case_graph_order():
    """Two nodes that nothing orders: which comes first is the seed's choice."""
    p = sim.to_device(struct.pack("<I", 10))
    a, b = sim.make("cuStreamCreate", 1), sim.make("cuStreamCreate", 1)
    e, f = sim.make("cuEventCreate", 2), sim.make("cuEventCreate", 2)
    g, x = sim.ptr(), sim.ptr()
    sim.call("cuStreamBeginCapture_v2", a, 0)
    sim.call("cuEventRecord", e, a)
    sim.call("cuStreamWaitEvent", b, e, 0)
    sim.launch(sim.function(mod, "axpb"), 1, 1, p, ("u32", 2), ("u32", 0), stream=a)
    sim.launch(sim.function(mod, "axpb"), 1, 1, p, ("u32", 1), ("u32", 1), stream=b)
    sim.call("cuEventRecord", f, b)
    sim.call("cuStreamWaitEvent", a, f, 0)
    sim.call("cuStreamEndCapture", a, ctypes.byref(g))
    sim.call("cuGraphInstantiateWithFlags", ctypes.byref(x), g, ctypes.c_uint64(0))
    sim.call("cuGraphLaunch", x, None)
    print(struct.unpack("<I", sim.from_device(p, 4))[0])


def case_stream_order():
    """Two kernels that nothing orders, on two streams: delays make either come first."""
    a, b, first = sim.make("cuStreamCreate", 1), sim.make("cuStreamCreate", 1), []
    for _ in range(48):
        p = sim.to_device(struct.pack("<I", 10))
        sim.launch(sim.function(mod, "axpb"), 1, 1, p, ("u32", 2), ("u32", 0), stream=a)
        sim.launch(sim.function(mod, "axpb"), 1, 1, p, ("u32", 1), ("u32", 1), stream=b)
        sim.sync()
        first.append("a" if sim.from_device(p, 4)[0] == 21 else "b")
    print(min(first.count("a"), first.count("b")) >= 5)


def run(case, **env):
    r = subprocess.run([sys.executable, __file__, case], env={**os.environ, "SIMCUDA_STRICT": "0", **env}, capture_output=True,
                       text=True, timeout=100)
    return r.stdout.strip(), r.stderr


def main():
    with tempfile.TemporaryDirectory() as tmp:
        costs, stats = os.path.join(tmp, "costs"), os.path.join(tmp, "stats")
        open(costs, "w").write(COSTS)
        virtual = {"SIMCUDA_CLOCK": "virtual", "SIMCUDA_COST": costs, "SIMCUDA_STATS": stats}
        want = f"host {100 + 4 * 1000 + 1000 + 100}\nbusy 600\ntoo early 600\nidle 0\nelapsed {1000 + 4 * 5030 + 50000}"
        sim.check("clock", run("clock", **virtual)[0], want)
        sim.check("the same again, with delays", run("clock", SIMCUDA_SEED="9", **virtual)[0], want)
        lines = open(stats).read().splitlines()
        sim.check("stats count calls", "call cuLaunchKernel 5" in lines, True)
        sim.check("stats count operations", "op kernel 5" in lines, True)
        sim.check("stats tell the time line", sum(l.startswith("span ") and l.endswith("kernel slow") for l in lines), 1)
    out, err = run("race", SIMCUDA_RACE="1")
    sim.check("races", out.split(), ["False", "False", "True", "True", "True", "False", "True"])
    sim.check("races are told", "nothing orders it and axpb" in err, True)
    sim.check("no races are looked for", run("race")[0].split(), ["False"] * 7)
    sim.check("stale caches", run("stale", SIMCUDA_STALE="1")[0].split(), ["0", "77", "77", "0", "77"])
    sim.check("coherent memory", run("stale")[0].split(), ["77"] * 5)
    limit = {"SIMCUDA_WATCHDOG": "3000000"}
    sim.check("a grid that fits", run("grid", SIMCUDA_RESIDENT="8", **limit)[0].split(), ["0", "0"])
    sim.check("a grid that does not fit", run("grid", SIMCUDA_RESIDENT="4", **limit)[0].split(), ["720", "702"])
    sim.check("a starved grid", run("grid", SIMCUDA_RESIDENT="8", SIMCUDA_STARVE="1", **limit)[0].split(), ["0", "0"])
    sim.check("a fair scheduler hides what starving shows", run("patience", SIMCUDA_INTERLEAVE="1")[0], "1 1")
    sim.check("starving shows it", run("patience", SIMCUDA_STARVE="1")[0], "1 0")
    sim.check("memory size and poison", run("memory", SIMCUDA_MEMORY="1m", SIMCUDA_POISON="0xcd")[0].split(), ["2", "2", "cdcd", "0"])
    out, err = run("misuse", SIMCUDA_STRICT="1")
    sim.check("strict", (out, err.splitlines()), ("4", MISUSE))
    sim.check("not strict", run("misuse"), ("4", ""))
    sim.check("printf", run("printf")[0], "-5 2.5 ab!\n-5 2.5 ab!")
    sim.check("both orders of two streams", run("stream_order", SIMCUDA_SEED="1", SIMCUDA_DELAY_US="1000")[0], "True")
    sim.check("both orders of a graph", {run("graph_order", SIMCUDA_SEED=str(i))[0] for i in range(1, 9)} == {"21", "22"}, True)
    sim.finish()


import simdrv as sim
if len(sys.argv) > 1:
    ctx = sim.init()
    mod = sim.module(sim.HEADER + AXPB.format(name="axpb") + AXPB.format(name="slow"))
    globals()["case_" + sys.argv[1]]()
else:
    main()
