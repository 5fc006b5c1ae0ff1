#!/usr/bin/env python3
"""Whole kernels: divergence, loops, calls, shared and local memory, barriers, atomics, warps, matrices, faults."""
import struct

import simdrv as sim

M32 = 0xffffffff


def words(p, n):
    return list(struct.unpack(f"<{n}I", sim.from_device(p, 4 * n)))


def run(text, grid, block, n, *args, name="k", shared=0, cooperative=False, init=None):
    """One output array of n words, its address passed first."""
    mod = sim.module(sim.HEADER + text)
    out = sim.to_device(struct.pack(f"<{n}I", *(init or [0] * n)))
    sim.launch(sim.function(mod, name), grid, block, out, *args, shared=shared, cooperative=cooperative)
    sim.sync()
    got = words(out, n)
    sim.free(out)
    return got


PRE = """{
.reg .b32 %r<32>; .reg .b64 %rd<16>; .reg .pred %p<8>; .reg .f32 %f<16>; .reg .b16 %h<8>;
ld.param.u64 %rd0, [out]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4; add.s64 %rd2, %rd0, %rd1;
"""
K = ".visible .entry k(.param .u64 out) " + PRE


def control_flow():
    # Collatz: every lane takes another number of turns, in a loop with a branch in it.
    def collatz(n):
        c = 0
        while n != 1:
            n = 3 * n + 1 if n & 1 else n // 2
            c += 1
        return c
    text = K + """
    add.u32 %r1, %r0, 1; mov.u32 %r2, 0;
LOOP: setp.eq.u32 %p0, %r1, 1; @%p0 bra DONE;
    and.b32 %r3, %r1, 1; setp.eq.u32 %p1, %r3, 0; @%p1 bra EVEN;
    mad.lo.u32 %r1, %r1, 3, 1; bra NEXT;
EVEN: shr.u32 %r1, %r1, 1;
NEXT: add.u32 %r2, %r2, 1; bra.uni LOOP;
DONE: st.global.u32 [%rd2], %r2; ret; }"""
    sim.check("divergent loop", run(text, 1, 128, 128), [collatz(i + 1) for i in range(128)])

    text = K + """
    mov.u32 %r1, 99; and.b32 %r2, %r0, 3; brx.idx %r2, T;
T: .branchtargets A, B, C, D;
A: mov.u32 %r1, 10; bra E;
B: mov.u32 %r1, 20; bra E;
C: mov.u32 %r1, 30; bra E;
D: exit;
E: st.global.u32 [%rd2], %r1; ret; }"""
    sim.check("indexed branch and exit", run(text, 1, 8, 8), [10, 20, 30, 0, 10, 20, 30, 0])

    text = """
.func (.param .b32 ret) twice(.param .b32 x) {
    .reg .b32 %a<3>; ld.param.u32 %a0, [x]; setp.gt.u32 q, %a0, 100; .reg .pred q;
    add.u32 %a1, %a0, %a0; st.param.b32 [ret], %a1; ret; }
""".replace("setp.gt.u32 q, %a0, 100; .reg .pred q;", ".reg .pred q; setp.gt.u32 q, %a0, 100; @q bra BIG;").replace(
        "st.param.b32 [ret], %a1; ret; }", "st.param.b32 [ret], %a1; ret; BIG: st.param.b32 [ret], 1; ret; }") + """
.func (.param .b32 ret) thrice(.param .b32 x) {
    .reg .b32 %a<3>; ld.param.u32 %a0, [x]; mul.lo.u32 %a1, %a0, 3; st.param.b32 [ret], %a1; ret; }
""" + K + """
    mul.lo.u32 %r1, %r0, 10;
    { .param .b32 p; .param .b32 q; st.param.b32 [p], %r1; call.uni (q), twice, (p); ld.param.b32 %r2, [q]; }
    setp.gt.u32 %p0, %r0, 4;
    @%p0 { }
    { .param .b32 p; .param .b32 q; st.param.b32 [p], %r2; @%p0 call (q), thrice, (p); @%p0 ld.param.b32 %r2, [q]; }
    st.global.u32 [%rd2], %r2; ret; }""".replace("    @%p0 { }\n", "")
    want = [20 * i if 10 * i <= 100 else 1 for i in range(16)]
    sim.check("calls", run(text, 1, 16, 16), [w * 3 if i > 4 else w for i, w in enumerate(want)])

    text = """
.func (.reg .b32 r) inc(.reg .b32 x) { add.u32 r, x, 1; ret; }
.func (.reg .b32 r) dec(.reg .b32 x) { sub.u32 r, x, 1; ret; }
.global .u64 table[2] = {inc, dec};
""" + K + """
    and.b32 %r1, %r0, 1; mul.wide.u32 %rd3, %r1, 8; mov.u64 %rd4, table; add.u64 %rd3, %rd3, %rd4;
    ld.global.u64 %rd5, [%rd3]; mov.u32 %r2, 50;
    P: .callprototype (.reg .b32 _) _ (.reg .b32 _);
    call (%r3), %rd5, (%r2), P;
    st.global.u32 [%rd2], %r3; ret; }"""
    sim.check("calls through a table", run(text, 1, 4, 4), [51, 49, 51, 49])

    # A spin lock inside one warp: only forward progress for every lane gets past it.
    text = ".global .u32 lock;\n.global .u32 count;\n" + K + """
    mov.u64 %rd3, lock; mov.u64 %rd4, count;
AGAIN: atom.global.cas.b32 %r1, [%rd3], 0, 1; setp.ne.u32 %p0, %r1, 0; @%p0 bra AGAIN;
    ld.volatile.global.u32 %r2, [%rd4]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%rd4], %r2;
    membar.gl; atom.global.exch.b32 %r1, [%rd3], 0;
    bar.sync 0; ld.volatile.global.u32 %r3, [%rd4]; st.global.u32 [%rd2], %r3; ret; }"""
    sim.check("spin lock", run(text, 1, 64, 64), [64] * 64)


def memory():
    text = ".shared .align 4 .b8 buf[1024];\n" + K + """
    mov.u32 %r1, buf; shl.b32 %r2, %r0, 2; add.u32 %r3, %r1, %r2; mul.lo.u32 %r4, %r0, 7; st.shared.u32 [%r3], %r4;
    bar.sync 0; xor.b32 %r5, %r2, 1020; add.u32 %r3, %r1, %r5; ld.shared.u32 %r6, [%r3];
    st.global.u32 [%rd2], %r6; ret; }"""
    sim.check("shared memory across warps", run(text, 1, 256, 256), [7 * (255 - i) for i in range(256)])

    text = ".extern .shared .align 16 .b8 dyn[];\n.shared .b32 fixed;\n" + K + """
    mov.u64 %rd3, dyn; cvta.shared.u64 %rd4, %rd3; isspacep.shared %p0, %rd4; selp.u32 %r1, 1, 0, %p0;
    mul.wide.u32 %rd5, %r0, 4; add.u64 %rd4, %rd4, %rd5; st.u32 [%rd4], %r0; st.shared.u32 [fixed], 77; bar.sync 0;
    ld.u32 %r2, [%rd4]; ld.shared.u32 %r3, [fixed]; add.u32 %r2, %r2, %r3; add.u32 %r2, %r2, %r1;
    mov.u32 %r4, %dynamic_smem_size; add.u32 %r2, %r2, %r4; st.global.u32 [%rd2], %r2; ret; }"""
    sim.check("dynamic shared memory", run(text, 1, 64, 64, shared=256), [i + 78 + 256 for i in range(64)])

    text = K.replace("%h<8>;", "%h<8>; .local .align 8 .b8 stack[64];") + """
    mov.u64 %rd3, stack; cvta.local.u64 %rd4, %rd3; and.b32 %r1, %r0, 7; mul.wide.u32 %rd5, %r1, 4; add.u64 %rd6, %rd4, %rd5;
    st.u32 [%rd6], %r0; add.u64 %rd7, %rd3, %rd5; ld.local.u32 %r2, [%rd7]; st.global.u32 [%rd2], %r2; ret; }"""
    sim.check("local memory", run(text, 1, 64, 64), list(range(64)))

    text = ".const .align 4 .u32 tab[4] = {5, 6, 7, 8};\n.global .align 8 .b8 bytes[5] = {1, 2, 3, 4, 255};\n" \
           ".global .f32 fl[2] = {0f3F800000, 2.5};\n" + K + """
    mov.u64 %rd3, tab; and.b32 %r1, %r0, 3; mul.wide.u32 %rd4, %r1, 4; add.u64 %rd3, %rd3, %rd4; ld.const.u32 %r2, [%rd3];
    ld.global.s8 %r3, [bytes+4]; add.u32 %r2, %r2, %r3; ld.global.f32 %f0, [fl+4]; cvt.rzi.u32.f32 %r4, %f0;
    add.u32 %r2, %r2, %r4; st.global.u32 [%rd2], %r2; ret; }"""
    sim.check("constants and initialisers", run(text, 1, 4, 4), [5 - 1 + 2, 7, 8, 9])

    text = K + """
    mul.wide.u32 %rd3, %r0, 16; add.u64 %rd3, %rd0, %rd3; add.u32 %r1, %r0, 100;
    st.global.v4.u32 [%rd3], {%r0, %r1, 3, 4}; ld.global.v2.u32 {%r5, %r6}, [%rd3]; add.u32 %r5, %r5, %r6;
    st.global.u32 [%rd3+8], %r5; ret; }"""
    sim.check("vectors", run(text, 1, 2, 8), [0, 100, 100, 4, 1, 101, 102, 4])


def atomics():
    for op, t, start, arg, want in (("add", "u32", 5, 1, 5 + 256), ("max", "s32", M32, None, 255), ("min", "u32", 77, None, 0),
                                    ("or", "b32", 0, None, 255), ("xor", "b32", 9, 3, 9), ("inc", "u32", 0, 99, 256 % 100),
                                    ("and", "b32", 0xff, 0xf0, 0xf0)):
        val = "%r0" if arg is None else str(arg)
        text = K.replace("mov.u32 %r0, %tid.x;", "mov.u32 %r8, %ntid.x; mov.u32 %r9, %ctaid.x; mov.u32 %r10, %tid.x; "
                         "mad.lo.u32 %r0, %r8, %r9, %r10;") + f"atom.global.{op}.{t} %r1, [%rd0], {val}; ret; }}"
        sim.check(f"atom.{op}.{t}", run(text, 4, 64, 1, init=[start]), [want])
    text = K + "cvt.rn.f32.u32 %f0, %r0; red.global.add.f32 [%rd0], %f0; ret; }"
    sim.check("red.add.f32", run(text, 1, 64, 1), [sim.bits32(float(sum(range(64))))])
    text = K + "mov.b32 %r1, 0x3c003c00; red.global.add.noftz.f16x2 [%rd0], %r1; ret; }"
    sim.check("red.add.f16x2", run(text, 1, 32, 1), [sim.bits16(32.0) * 0x10001])
    text = ".shared .u32 s;\n" + K + """
    setp.eq.u32 %p0, %r0, 0; @%p0 st.shared.u32 [s], 0; bar.sync 0; atom.shared.add.u32 %r1, [s], 2; bar.sync 0;
    ld.shared.u32 %r2, [s]; st.global.u32 [%rd2], %r2; ret; }"""
    sim.check("atom.shared", run(text, 1, 96, 96), [192] * 96)


def warps():
    rows = {
        "shfl.sync.up.b32 %r1|%p0, %r0, 1, 0, -1;": lambda i: i - 1 if i % 32 else i,
        "shfl.sync.down.b32 %r1|%p0, %r0, 4, 31, -1;": lambda i: i + 4 if i % 32 + 4 < 32 else i,
        "shfl.sync.bfly.b32 %r1, %r0, 5, 31, -1;": lambda i: i ^ 5,
        "shfl.sync.idx.b32 %r1, %r0, 3, 0x181f, -1;": lambda i: i & ~7 | 3,
        "setp.lt.u32 %p0, %r0, 20; vote.sync.ballot.b32 %r1, %p0, -1;": lambda i: 0xfffff if i < 32 else 0,
        "setp.lt.u32 %p0, %r0, 40; vote.sync.all.pred %p1, %p0, -1; selp.u32 %r1, 1, 0, %p1;": lambda i: int(i < 32),
        "setp.eq.u32 %p0, %r0, 40; vote.sync.any.pred %p1, %p0, -1; selp.u32 %r1, 1, 0, %p1;": lambda i: int(i >= 32),
        "and.b32 %r2, %r0, 1; match.any.sync.b32 %r1, %r2, -1;": lambda i: 0xaaaaaaaa if i & 1 else 0x55555555,
        "redux.sync.add.s32 %r1, %r0, -1;": lambda i: sum(range(32)) + (i // 32) * 32 * 32,
        "redux.sync.max.u32 %r1, %r0, -1;": lambda i: 31 + i // 32 * 32,
        "setp.lt.u32 %p0, %r0, 7; mov.u32 %r1, 0; @%p0 activemask.b32 %r1;": lambda i: 127 if i < 7 else 0,
        "mov.u32 %r1, %lanemask_lt;": lambda i: (1 << i % 32) - 1,
        "setp.eq.u32 %p0, %r0, %r0; vote.sync.uni.pred %p1, %p0, -1; selp.u32 %r1, 1, 0, %p1;": lambda i: 1,
        "setp.lt.u32 %p0, %r0, 40; vote.sync.uni.pred %p1, %p0, -1; selp.u32 %r1, 1, 0, %p1;": lambda i: int(i < 32),
        "elect.sync %r1|%p0, -1; selp.u32 %r2, 100, 0, %p0; add.u32 %r1, %r1, %r2;": lambda i: 0 if i % 32 else 100,
        "match.all.sync.b32 %r1|%p0, 7, -1; selp.u32 %r1, %r1, 0, %p0;": lambda i: M32,
        "match.all.sync.b32 %r1|%p0, %r0, -1; selp.u32 %r1, 1, 0, %p0;": lambda i: 0,
        "redux.sync.xor.b32 %r1, %r0, -1; redux.sync.min.s32 %r2, %r0, -1; add.u32 %r1, %r1, %r2;": lambda i: i // 32 * 32,
    }
    for text, fn in rows.items():
        sim.check(text, run(K + text + " st.global.u32 [%rd2], %r1; ret; }", 1, 64, 64), [fn(i) for i in range(64)])
    text = K + """
    mov.u32 %r1, 0; and.b32 %r3, %r0, 1; setp.eq.u32 %p0, %r3, 0; @%p0 bra EVEN;
    add.u32 %r1, %r0, 1000; shfl.sync.idx.b32 %r1, %r1, 31, 31, 0xaaaaaaaa; bra JOIN;
EVEN: add.u32 %r1, %r0, 2000; shfl.sync.idx.b32 %r1, %r1, 0, 31, 0x55555555;
JOIN: bar.warp.sync -1; st.global.u32 [%rd2], %r1; ret; }"""
    sim.check("shuffles in both halves of a branch", run(text, 1, 32, 32), [1031 if i & 1 else 2000 for i in range(32)])
    # The wait is in the lower half of the code, its release in the upper: lanes must get there in turn.
    text = ".shared .u32 flag;\n" + K + """
    st.shared.u32 [flag], 0; bar.warp.sync -1; setp.eq.u32 %p0, %r0, 31; @%p0 bra SET;
WAIT: ld.volatile.shared.u32 %r1, [flag]; setp.eq.u32 %p1, %r1, 0; @%p1 bra WAIT; bra DONE;
SET: st.volatile.shared.u32 [flag], 7; mov.u32 %r1, 7;
DONE: st.global.u32 [%rd2], %r1; ret; }"""
    sim.check("lanes that wait for a lane of their warp", run(text, 1, 32, 32), [7] * 32)


def barriers():
    text = ".shared .u32 s[4];\n" + K + """
    setp.ge.u32 %p0, %r0, 32; @%p0 bra CONSUMER;
    setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [s], 42; bar.arrive 3, 64; mov.u32 %r1, 1; bra DONE;
CONSUMER: bar.sync 3, 64; ld.shared.u32 %r1, [s];
DONE: st.global.u32 [%rd2], %r1; ret; }"""
    sim.check("named barrier", run(text, 1, 64, 64), [1] * 32 + [42] * 32)
    text = K + """
    setp.lt.u32 %p0, %r0, 10; bar.red.popc.u32 %r1, 0, %p0; bar.red.or.pred %p1, 0, %p0; bar.red.and.pred %p2, 0, %p0;
    @%p1 add.u32 %r1, %r1, 100; @%p2 add.u32 %r1, %r1, 1000; st.global.u32 [%rd2], %r1; ret; }"""
    sim.check("bar.red", run(text, 1, 96, 96), [110] * 96)
    text = K + """
    setp.ge.u32 %p0, %r0, 40; @%p0 exit; bar.sync 0; st.global.u32 [%rd2], 5; ret; }"""
    sim.check("barrier after some have left", run(text, 1, 64, 64), [5] * 40 + [0] * 24)
    # Every block waits for all the others: only blocks that are resident together get past it.
    text = ".global .u32 n;\n" + K + """
    mov.u64 %rd3, n; atom.global.add.u32 %r1, [%rd3], 1;
SPIN: ld.volatile.global.u32 %r2, [%rd3]; setp.lt.u32 %p0, %r2, 8; @%p0 bra SPIN;
    mov.u32 %r4, %ctaid.x; mul.wide.u32 %rd4, %r4, 4; add.u64 %rd4, %rd0, %rd4; st.global.u32 [%rd4], 1; ret; }"""
    sim.check("grid barrier, cooperative", run(text, 8, 1, 8, cooperative=True), [1] * 8)


def as_bf16(text):
    """The same program with the other short type: small whole numbers are exact in both."""
    for i in range(20, 24):
        text = text.replace(f"cvt.rn.f16.u32 %h0, %r12; cvt.rn.f16.u32 %h1, %r13; mov.b32 %r{i}, {{%h0, %h1}};",
                            f"cvt.rn.f32.u32 %f8, %r12; cvt.rn.f32.u32 %f9, %r13; cvt.rn.bf16x2.f32 %r{i}, %f9, %f8;")
    text = text.replace("0x3c000000", "0x3f800000").replace("0x3c00,", "0x3f80,")
    assert text.count("bf16x2") == 4 and text.count("0x3f80") == 4
    return text.replace("f32.f16.f16.f32", "f32.bf16.bf16.f32")


def tf32_text():
    """K = 8. The low bits of A and B are noise that nobody may look at."""
    def noisy(register, value):
        return f"cvt.rn.f32.u32 %f8, {value}; mov.b32 {register}, %f8; or.b32 {register}, {register}, 0x1555;"
    a = "".join(f"add.u32 %r10, %r1, {dr}; add.u32 %r11, %r2, {dk}; add.u32 %r12, %r10, %r11; {noisy(f'%r{20 + i}', '%r12')}"
                for i, (dr, dk) in enumerate(((0, 0), (8, 0), (0, 4), (8, 4))))
    b = "".join(f"add.u32 %r11, %r2, {dk}; setp.eq.u32 %p0, %r11, %r1; selp.u32 %r12, 1, 0, %p0; {noisy(f'%r{24 + i}', '%r12')}"
                for i, dk in enumerate((0, 4)))
    return K + "shr.u32 %r1, %r0, 2; and.b32 %r2, %r0, 3;" + a + b + """
    mov.f32 %f0, 0f42c80000;
    mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1, %f2, %f3, %f4}, {%r20, %r21, %r22, %r23}, {%r24, %r25}, {%f0, %f0, %f0, %f0};
    mul.wide.u32 %rd3, %r0, 16; add.u64 %rd3, %rd0, %rd3; st.global.v4.f32 [%rd3], {%f1, %f2, %f3, %f4}; ret; }"""


def matrices():
    # D = A * B + C with A[r][k] = r + k, B[k][n] = k == n, C = 100: every fragment's place shows in the result.
    half = lambda v: sim.bits16(float(v))
    text = K + """
    shr.u32 %r1, %r0, 2; and.b32 %r2, %r0, 3; shl.b32 %r2, %r2, 1;
    """ + "".join(f"""
    add.u32 %r10, %r1, {dr}; add.u32 %r11, %r2, {dc}; add.u32 %r12, %r10, %r11; add.u32 %r13, %r12, 1;
    cvt.rn.f16.u32 %h0, %r12; cvt.rn.f16.u32 %h1, %r13; mov.b32 %r{20 + i}, {{%h0, %h1}};"""
                  for i, (dr, dc) in enumerate(((0, 0), (8, 0), (0, 8), (8, 8)))) + "".join(f"""
    add.u32 %r11, %r2, {dk}; setp.eq.u32 %p0, %r11, %r1; selp.u32 %r12, 0x3c00, 0, %p0; add.u32 %r11, %r11, 1;
    setp.eq.u32 %p0, %r11, %r1; selp.u32 %r13, 0x3c000000, 0, %p0; or.b32 %r{24 + i}, %r12, %r13;"""
                  for i, dk in enumerate((0, 8))) + """
    mov.f32 %f0, 0f42c80000;
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r20, %r21, %r22, %r23}, {%r24, %r25}, {%f0, %f0, %f0, %f0};
    mul.wide.u32 %rd3, %r0, 16; add.u64 %rd3, %rd0, %rd3; st.global.v4.f32 [%rd3], {%f1, %f2, %f3, %f4}; ret; }"""
    want = []
    for l in range(32):
        for i in range(4):
            want.append(sim.bits32(100.0 + (l // 4 + 8 * (i // 2)) + (2 * (l % 4) + i % 2)))
    sim.check("mma m16n8k16 f16", run(text, 1, 32, 128), want)
    sim.check("mma m16n8k16 bf16", run(as_bf16(text), 1, 32, 128), want)
    sim.check("mma m16n8k8 tf32", run(tf32_text(), 1, 32, 128), want)
    text = ".shared .align 16 .b8 t[512];\n" + K + """
    mov.u32 %r1, t; mad.lo.u32 %r2, %r0, 16, %r1; mul.lo.u32 %r3, %r0, 8;
    """ + "".join(f"add.u32 %r4, %r3, {i}; cvt.u16.u32 %h0, %r4; st.shared.u16 [%r2+{2 * i}], %h0;\n" for i in range(8)) + """
    bar.sync 0; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r2];
    ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r14}, [%r2];
    mul.wide.u32 %rd3, %r0, 12; add.u64 %rd3, %rd0, %rd3; st.global.u32 [%rd3], %r10; st.global.u32 [%rd3+4], %r13;
    st.global.u32 [%rd3+8], %r14; ret; }"""
    want = []
    for l in range(32):
        r, c = l // 4, 2 * (l % 4)
        want += [(r * 8 + c) | (r * 8 + c + 1) << 16, (192 + r * 8 + c) | (192 + r * 8 + c + 1) << 16, (c * 8 + r) | ((c + 1) * 8 + r) << 16]
    sim.check("ldmatrix", run(text, 1, 32, 96), want)
    # One matrix as fragments, transposed among the lanes; stored by rows and by columns.
    text = ".shared .align 16 .b8 t[256];\n" + K + """
    shl.b32 %r1, %r0, 1; cvt.u16.u32 %h0, %r1; add.u32 %r1, %r1, 1; cvt.u16.u32 %h1, %r1; mov.b32 %r2, {%h0, %h1};
    movmatrix.sync.aligned.m8n8.trans.b16 %r3, %r2;
    mov.u32 %r4, t; and.b32 %r5, %r0, 7; mad.lo.u32 %r6, %r5, 16, %r4;
    stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r6], {%r2}; add.u32 %r6, %r6, 128;
    stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%r6], {%r2};
    bar.sync 0; mad.lo.u32 %r7, %r0, 4, %r4; ld.shared.u32 %r8, [%r7]; ld.shared.u32 %r9, [%r7+128];
    mul.wide.u32 %rd3, %r0, 12; add.u64 %rd3, %rd0, %rd3; st.global.u32 [%rd3], %r3; st.global.u32 [%rd3+4], %r8;
    st.global.u32 [%rd3+8], %r9;
    ret; }"""
    want = []
    for l in range(32):
        r, c = l // 4, 2 * (l % 4)
        across, along = (c * 8 + r) | ((c + 1) * 8 + r) << 16, 2 * l | (2 * l + 1) << 16
        want += [across, along, across]
    sim.check("movmatrix and stmatrix", run(text, 1, 32, 96), want)
    text = ".shared .align 16 .b8 s[64];\n" + K + """
    setp.ne.u32 %p0, %r0, 0; @%p0 bra W; mov.u32 %r1, s; cp.async.ca.shared.global [%r1], [%rd0], 16;
    cp.async.ca.shared.global [%r1+16], [%rd0], 16, 4; cp.async.commit_group; cp.async.wait_group 0;
W:  bar.sync 0; mov.u32 %r1, s; shl.b32 %r2, %r0, 2; add.u32 %r1, %r1, %r2; ld.shared.u32 %r3, [%r1]; st.global.u32 [%rd2], %r3; ret; }"""
    sim.check("cp.async", run(text, 1, 8, 8, init=[1, 2, 3, 4, 0, 0, 0, 9]), [1, 2, 3, 4, 1, 0, 0, 0])


def faults():
    """Each in a context of its own: the error sticks until the context is gone."""
    cases = [("read past the end", "ld.global.u32 %r1, [%rd0+4096]; st.global.u32 [%rd0], %r1;", 700),
             ("write far away", "mov.u64 %rd3, 64; st.global.u32 [%rd3], 1;", 700),
             ("misaligned", "ld.global.u32 %r1, [%rd0+2]; st.global.u32 [%rd0], %r1;", 716),
             ("shared out of bounds", "mov.u32 %r1, 100000; st.shared.u32 [%r1], 1;", 700),
             ("trap", "trap;", 719),
             ("barrier nobody completes", "setp.eq.u32 %p0, %r0, 0; @%p0 bar.sync 1, 96;", 702)]
    for name, text, want in cases:
        ctx = sim.make("cuCtxCreate_v2", 0, 0)
        mod = sim.module(sim.HEADER + K + text + " ret; }")
        out = sim.alloc(16)
        sim.launch(sim.function(mod, "k"), 1, 32, out)
        sim.expect(f"{name}: synchronise", want, "cuCtxSynchronize")
        sim.expect(f"{name}: sticks", want, "cuMemFree_v2", sim.dptr(out))
        sim.expect(f"{name}: destroy", 0, "cuCtxDestroy_v2", ctx)
    sim.check("the other context lives", run(K + "st.global.u32 [%rd2], 3; ret; }", 1, 4, 4), [3] * 4)


sim.init()
control_flow()
memory()
atomics()
warps()
barriers()
matrices()
faults()
sim.finish()
