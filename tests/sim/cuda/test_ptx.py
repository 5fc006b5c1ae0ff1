#!/usr/bin/env python3
"""Single instructions: each row is run by the interpreter and compared with a value computed here.

A row is (instruction text, operand widths, inputs, wanted outputs). The text names its inputs a, b, c
and its result d; one lane runs each row's input tuple, the other lanes run copies with other inputs.
"""
import math
import struct

import simdrv as sim

M32, M64 = 0xffffffff, 0xffffffffffffffff
NAN32, INF32 = 0x7fffffff, 0x7f800000
REG = {16: ".b16 %h", 32: ".b32 %r", 64: ".b64 %l"}
NAME = {16: "%h", 32: "%r", 64: "%l"}


def kernel(text, dw, widths):
    """d, a, b, c become registers of the given widths; p, q are predicates."""
    body = [".visible .entry k(.param .u64 in, .param .u64 out) {",
            ".reg .b16 %h<16>; .reg .b32 %r<16>; .reg .b64 %l<16>; .reg .pred %p<4>; .reg .b64 %x<8>; .reg .b32 %t<4>;",
            "ld.param.u64 %x0, [in]; ld.param.u64 %x1, [out]; mov.u32 %t0, %tid.x;",
            "mul.wide.u32 %x2, %t0, 32; add.u64 %x3, %x0, %x2; mul.wide.u32 %x4, %t0, 8; add.u64 %x5, %x1, %x4;"]
    regs = {"d": f"{NAME[dw]}9"}
    for i, w in enumerate(widths):
        regs["abce"[i]] = f"{NAME[w]}{i}"
        body.append(f"ld.global.b{w} {NAME[w]}{i}, [%x3+{8 * i}];")
    body.append(f"mov.b{dw} {regs['d']}, 0;")
    out = text
    for name in "dabce":
        if name in regs:
            out = out.replace(f"${name}", regs[name])
    body += [out.replace("$p", "%p0").replace("$q", "%p1"), f"st.global.b{dw} [%x5], {regs['d']};", "ret; }"]
    return sim.HEADER + "\n".join(body)


def run(text, dw, widths, rows):
    mod = sim.module(kernel(text, dw, widths))
    n = len(rows)
    data = b"".join(b"".join(struct.pack("<Q", v & M64) for v in row).ljust(32, b"\0") for row in rows)
    src, dst = sim.to_device(data), sim.to_device(bytes(8 * n))
    sim.launch(sim.function(mod, "k"), 1, n, src, dst)
    got = struct.unpack(f"<{n}Q", sim.from_device(dst, 8 * n))
    sim.free(src)
    sim.free(dst)
    sim.call("cuModuleUnload", mod)
    return [v & ((1 << dw) - 1) for v in got]


def s(v, bits):
    v &= (1 << bits) - 1
    return v - (1 << bits) if v >> (bits - 1) else v


INTS = {16: [0, 1, 2, 7, 0x7fff, 0x8000, 0xffff, 0x1234],
        32: [0, 1, 2, 5, 31, 0x7fffffff, 0x80000000, M32, 0xdeadbeef, 0x00ff00ff],
        64: [0, 1, 3, 1 << 32, (1 << 63) - 1, 1 << 63, M64, 0x123456789abcdef0]}


def tdiv(a, b):
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def integer_tests():
    for w in (16, 32, 64):
        pairs = [(a, b) for a in INTS[w] for b in INTS[w]]
        mask = (1 << w) - 1
        for sign, view in (("u", lambda v: v & mask), ("s", lambda v: s(v, w))):
            t = f"{sign}{w}"
            table = {
                f"add.{t} $d, $a, $b;": lambda a, b: a + b,
                f"sub.{t} $d, $a, $b;": lambda a, b: a - b,
                f"mul.lo.{t} $d, $a, $b;": lambda a, b: a * b,
                f"mul.hi.{t} $d, $a, $b;": lambda a, b: (a * b) >> w,
                f"min.{t} $d, $a, $b;": min,
                f"max.{t} $d, $a, $b;": max,
                f"mad.lo.{t} $d, $a, $b, $a;": lambda a, b: a * b + a,
                f"sad.{t} $d, $a, $b, 1;": lambda a, b: abs(a - b) + 1,
            }
            for text, fn in table.items():
                sim.check(text, run(text, w, (w, w), pairs), [fn(view(a), view(b)) & mask for a, b in pairs])
            nz = [(a, b) for a, b in pairs if b]
            sim.check(f"div.{t}", run(f"div.{t} $d, $a, $b;", w, (w, w), nz),
                      [tdiv(view(a), view(b)) & mask for a, b in nz])
            sim.check(f"rem.{t}", run(f"rem.{t} $d, $a, $b;", w, (w, w), nz),
                      [(view(a) - tdiv(view(a), view(b)) * view(b)) & mask for a, b in nz])
            for cc, fn in {"eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b,
                           "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b}.items():
                text = f"setp.{cc}.{t} $p, $a, $b; selp.b{w} $d, 1, 0, $p;"
                sim.check(text, run(text, w, (w, w), pairs), [int(fn(view(a), view(b))) for a, b in pairs])
        for text, fn in {f"and.b{w} $d, $a, $b;": lambda a, b: a & b, f"or.b{w} $d, $a, $b;": lambda a, b: a | b,
                         f"xor.b{w} $d, $a, $b;": lambda a, b: a ^ b, f"not.b{w} $d, $a;": lambda a, b: ~a}.items():
            sim.check(text, run(text, w, (w, w), pairs), [fn(a, b) & mask for a, b in pairs])
        shifts = [(a, n) for a in INTS[w] for n in (0, 1, w // 2, w - 1, w, 200)]
        for text, fn in {f"shl.b{w} $d, $a, $b;": lambda a, n: a << n if n < w else 0,
                         f"shr.u{w} $d, $a, $b;": lambda a, n: a >> n if n < w else 0,
                         f"shr.s{w} $d, $a, $b;": lambda a, n: s(a, w) >> min(n, w - 1)}.items():
            sim.check(text, run(text, w, (w, 32), shifts), [fn(a, n) & mask for a, n in shifts])


def bit_tests():
    vals = [(v,) for v in INTS[32]]
    for text, fn in {"popc.b32 $d, $a;": lambda a: bin(a).count("1"), "clz.b32 $d, $a;": lambda a: 32 - a.bit_length(),
                     "brev.b32 $d, $a;": lambda a: int(f"{a:032b}"[::-1], 2),
                     "bfind.u32 $d, $a;": lambda a: (a.bit_length() - 1) & M32,
                     "abs.s32 $d, $a;": lambda a: abs(s(a, 32)) & M32, "neg.s32 $d, $a;": lambda a: -a & M32}.items():
        sim.check(text, run(text, 32, (32,), vals), [fn(a[0]) for a in vals])
    sim.check("bfe.u32", run("bfe.u32 $d, $a, $b, $c;", 32, (32, 32, 32),
                             [(0xdeadbeef, 8, 8), (0xdeadbeef, 28, 10), (M32, 0, 0), (M32, 40, 4)]), [0xbe, 0xd, 0, 0])
    sim.check("bfe.s32", run("bfe.s32 $d, $a, $b, $c;", 32, (32, 32, 32),
                             [(0xdeadbeef, 8, 8), (0xdeadbeef, 28, 10), (0x40, 4, 3)]), [0xffffffbe, 0xfffffffd, 0xfffffffc])
    sim.check("bfi.b32", run("bfi.b32 $d, $a, $b, $c, $e;", 32, (32, 32, 32, 32),
                             [(0xf, 0, 4, 4), (0xab, M32, 8, 8), (5, 7, 32, 4)]), [0xf0, 0xffffabff, 7])
    sim.check("prmt", run("prmt.b32 $d, $a, $b, $c;", 32, (32, 32, 32),
                          [(0x03020100, 0x07060504, 0x7531), (0x80, 0, 0x8888), (1, 2, 0x0004)]),
              [0x07050301, M32, 0x01010102])
    sim.check("lop3 majority", run("lop3.b32 $d, $a, $b, $c, 0xe8;", 32, (32, 32, 32), [(0b1100, 0b1010, 0b0110)]), [0b1110])
    sim.check("shf.l.wrap", run("shf.l.wrap.b32 $d, $a, $b, $c;", 32, (32, 32, 32), [(0x80000000, 1, 1), (5, 9, 32)]), [3, 9])
    sim.check("shf.r.clamp", run("shf.r.clamp.b32 $d, $a, $b, $c;", 32, (32, 32, 32), [(1, 2, 40), (0, 1, 1)]), [2, 0x80000000])
    sim.check("dp4a.s32.s32", run("dp4a.s32.s32 $d, $a, $b, $c;", 32, (32, 32, 32), [(0xff01ff01, 0x02020203, 10)]),
              [(3 - 2 + 2 - 2 + 10) & M32])
    sim.check("slct", run("slct.b32.s32 $d, $a, $b, $c;", 32, (32, 32, 32), [(1, 2, 0), (1, 2, M32)]), [1, 2])
    sim.check("add.cc chain", run("{ .reg .b32 lo, hi; add.cc.u32 lo, $a, $b; addc.u32 hi, $c, 0; mov.b64 $d, {lo, hi}; }",
                                  64, (32, 32, 32), [(M32, 1, 5), (1, 1, 5)]), [6 << 32, (5 << 32) | 2])
    sim.check("mul.wide.s32", run("mul.wide.s32 $d, $a, $b;", 64, (32, 32), [(M32, 5), (0x80000000, 2)]), [-5 & M64, -(1 << 32) & M64])
    sim.check("mad.hi.u32", run("mad.hi.u32 $d, $a, $b, $c;", 32, (32, 32, 32), [(M32, M32, 3)]), [1])


def wide_and_narrow_tests():
    """Bits of 64-bit numbers, products of their own width, and what saturates."""
    vals = [(v,) for v in INTS[64]]
    for text, fn in {"popc.b64 $d, $a;": lambda a: bin(a).count("1"), "clz.b64 $d, $a;": lambda a: 64 - a.bit_length(),
                     "bfind.u64 $d, $a;": lambda a: (a.bit_length() - 1) & M32,
                     "bfind.s64 $d, $a;": lambda a: ((a ^ (M64 if a >> 63 else 0)).bit_length() - 1) & M32,
                     "bfind.shiftamt.u64 $d, $a;": lambda a: (64 - a.bit_length()) & M32 if a else M32}.items():
        sim.check(text, run(text, 32, (64,), vals), [fn(a[0]) for a in vals])
    sim.check("brev.b64", run("brev.b64 $d, $a;", 64, (64,), vals), [int(f"{a[0]:064b}"[::-1], 2) for a in vals])
    sim.check("abs.s64", run("abs.s64 $d, $a;", 64, (64,), vals), [abs(s(a[0], 64)) & M64 for a in vals])
    sim.check("bfind.s32", run("bfind.s32 $d, $a;", 32, (32,), [(v,) for v in INTS[32]]),
              [((v ^ (M32 if v >> 31 else 0)).bit_length() - 1) & M32 for v in INTS[32]])
    fields = [(0x123456789abcdef0, 8, 16), (M64, 60, 10), (0x80 << 32, 32, 8)]
    for t, want in (("u64", [0xbcde, 0xf, 0x80]), ("s64", [0xffffffffffffbcde, M64, 0xffffffffffffff80])):
        text = f"cvt.u32.u64 %r1, $b; cvt.u32.u64 %r2, $c; bfe.{t} $d, $a, %r1, %r2;"
        sim.check(f"bfe.{t}", run(text, 64, (64, 64, 64), fields), want)
    shorts = [(a, b) for a in INTS[16] for b in INTS[16]]
    ints = [(a, b) for a in INTS[32] for b in INTS[32]]
    for sign, view in (("u", lambda v, w: v), ("s", s)):
        sim.check(f"mul.wide.{sign}16", run(f"mul.wide.{sign}16 $d, $a, $b;", 32, (16, 16), shorts),
                  [view(a, 16) * view(b, 16) & M32 for a, b in shorts])
        sim.check(f"mad.wide.{sign}32", run(f"mov.b64 %l14, 7; mad.wide.{sign}32 $d, $a, $b, %l14;", 64, (32, 32), ints),
                  [view(a, 32) * view(b, 32) + 7 & M64 for a, b in ints])
        sim.check(f"mul24.lo.{sign}32", run(f"mul24.lo.{sign}32 $d, $a, $b;", 32, (32, 32), ints),
                  [view(a & 0xffffff, 24) * view(b & 0xffffff, 24) & M32 for a, b in ints])
    most, least = 0x7fffffff, -0x80000000
    for op, fn in (("add", lambda a, b: a + b), ("sub", lambda a, b: a - b)):
        sim.check(f"{op}.sat.s32", run(f"{op}.sat.s32 $d, $a, $b;", 32, (32, 32), ints),
                  [max(least, min(most, fn(s(a, 32), s(b, 32)))) & M32 for a, b in ints])
    sim.check("dp2a.lo.s32.u32", run("dp2a.lo.s32.u32 $d, $a, $b, $c;", 32, (32, 32, 32), [(0xffff0002, 0x04030201, 5)]),
              [2 * 1 + -1 * 2 + 5])
    sim.check("bmsk.clamp.b32", run("bmsk.clamp.b32 $d, $a, $b;", 32, (32, 32), [(4, 8), (28, 8), (0, 0)]), [0xff0, 0xf0000000, 0])
    sim.check("szext.clamp.s32", run("szext.clamp.s32 $d, $a, $b;", 32, (32, 32), [(0x1ff, 8), (0x7f, 8)]), [M32, 0x7f])


FLOATS = [0.0, -0.0, 1.0, -1.5, 3.25, 1e-30, 3e38, math.inf, -math.inf, math.nan, 1e-42, 0.1]


def single(x):
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def guarded(fn):
    def wrapped(*a):
        try:
            return fn(*a)
        except ZeroDivisionError:
            if a[0] == 0 or a[0] != a[0]:
                return math.nan
            return math.copysign(math.inf, a[0]) * math.copysign(1, a[1])
        except ValueError:
            return math.nan
    return wrapped


def float_tests():
    vals = [single(v) for v in FLOATS]
    pairs = [(a, b) for a in vals for b in vals]
    nan = math.isnan

    def pick(least):
        def fn(a, b):
            if nan(a) or nan(b):
                return b if nan(a) else a
            if a == b:
                return a if (math.copysign(1, a) < 0) == least else b
            return min(a, b) if least else max(a, b)
        return fn

    for text, fn in {"add.f32 $d, $a, $b;": lambda a, b: a + b, "sub.rn.f32 $d, $a, $b;": lambda a, b: a - b,
                     "mul.f32 $d, $a, $b;": lambda a, b: a * b, "div.rn.f32 $d, $a, $b;": guarded(lambda a, b: a / b),
                     "min.f32 $d, $a, $b;": pick(True), "max.f32 $d, $a, $b;": pick(False)}.items():
        got = [sim.f32(v) for v in run(text, 32, (32, 32), [tuple(map(sim.bits32, p)) for p in pairs])]
        sim.check(text, got, [single(fn(a, b)) for a, b in pairs])
    for text, fn in {"setp.lt.f32": lambda a, b: a < b, "setp.ltu.f32": lambda a, b: not a >= b,
                     "setp.ne.f32": lambda a, b: not (nan(a) or nan(b)) and a != b, "setp.neu.f32": lambda a, b: a != b,
                     "setp.num.f32": lambda a, b: not (nan(a) or nan(b)), "setp.ge.f32": lambda a, b: a >= b}.items():
        got = run(f"{text} $p, $a, $b; selp.b32 $d, 1, 0, $p;", 32, (32, 32), [tuple(map(sim.bits32, p)) for p in pairs])
        sim.check(text, got, [int(fn(a, b)) for a, b in pairs])
    sim.check("fma.rn.f32 rounds once", run("fma.rn.f32 $d, $a, $b, $c;", 32, (32, 32, 32),
                                            [(0x3f800001, 0x3f800001, 0xbf800002)]), [0x28800000])
    sim.check("mul and add round twice", run("{ .reg .f32 t; mul.rn.f32 t, $a, $b; add.rn.f32 $d, t, $c; }", 32, (32, 32, 32),
                                             [(0x3f800001, 0x3f800001, 0xbf800002)]), [0])
    for mode, want in (("rn", 0x3f800000), ("rz", 0x3f800000), ("rp", 0x3f800001), ("rm", 0x3f800000)):
        sim.check(f"add.{mode}.f32", run(f"add.{mode}.f32 $d, $a, $b;", 32, (32, 32), [(0x3f800000, 0x2f800000)]), [want])
    sim.check("add.ftz.f32", run("add.ftz.f32 $d, $a, $b;", 32, (32, 32), [(1, 0), (0x00800000, 0x80000001)]), [0, 0x00800000])
    sim.check("add.sat.f32", run("add.sat.f32 $d, $a, $b;", 32, (32, 32), [(0x40000000, 0), (0xbf800000, 0), (NAN32, 0)]),
              [0x3f800000, 0, 0])
    for name, fn, args in (("ex2.approx.f32", lambda x: 2.0 ** x, [0, 1, -3, 0.5, 10.25]),
                           ("lg2.approx.f32", math.log2, [1, 2, 0.125, 10]), ("sin.approx.f32", math.sin, [0, 1, -2, 3]),
                           ("cos.approx.f32", math.cos, [0, 1, -2, 3]), ("sqrt.rn.f32", math.sqrt, [0, 1, 2, 1e10]),
                           ("rsqrt.approx.f32", lambda x: 1 / math.sqrt(x), [1, 2, 1e10]),
                           ("rcp.rn.f32", lambda x: 1 / x, [1, -3, 1e10]), ("tanh.approx.f32", math.tanh, [0, 1, -2, 20])):
        args = [single(x) for x in args]
        got = [sim.f32(v) for v in run(f"{name} $d, $a;", 32, (32,), [(sim.bits32(x),) for x in args])]
        close = all(abs(g - fn(x)) <= 4e-7 * max(1, abs(fn(x))) for g, x in zip(got, args))
        sim.check(f"{name} {got}", close, True)
    double_tests(pick)
    sim.check("fma.rn.f64 rounds once", run("fma.rn.f64 $d, $a, $a, $b;", 64, (64, 64),
                                            [(0x3ff0000000000001, 0xbff0000000000002)]), [0x3970000000000000])


def double_tests(pick):
    """Python's own numbers: every result must be the same to the last bit."""
    vals = [*FLOATS, 1e308, 5e-324, math.pi]
    pairs = [(a, b) for a in vals for b in vals]
    get = lambda v: struct.unpack("<d", struct.pack("<Q", v))[0]
    for text, fn in {"add.f64 $d, $a, $b;": lambda a, b: a + b, "sub.f64 $d, $a, $b;": lambda a, b: a - b,
                     "mul.rn.f64 $d, $a, $b;": lambda a, b: a * b, "div.rn.f64 $d, $a, $b;": guarded(lambda a, b: a / b),
                     "min.f64 $d, $a, $b;": pick(True), "max.f64 $d, $a, $b;": pick(False)}.items():
        got = [get(v) for v in run(text, 64, (64, 64), [tuple(map(sim.bits64, p)) for p in pairs])]
        sim.check(text, got, [fn(a, b) for a, b in pairs])
    for text, fn in {"setp.lt.f64": lambda a, b: a < b, "setp.geu.f64": lambda a, b: not a < b, "setp.eq.f64": lambda a, b: a == b,
                     "setp.ne.f64": lambda a, b: a == a and b == b and a != b, "setp.nan.f64": lambda a, b: a != a or b != b}.items():
        got = run(f"{text} $p, $a, $b; selp.b32 %r9, 1, 0, $p; cvt.u64.u32 $d, %r9;", 64, (64, 64), [tuple(map(sim.bits64, p)) for p in pairs])
        sim.check(text, got, [int(fn(a, b)) for a, b in pairs])
    for text, fn in {"neg.f64 $d, $a;": lambda a: -a, "abs.f64 $d, $a;": abs, "sqrt.rn.f64 $d, $a;": guarded(math.sqrt),
                     "rcp.rn.f64 $d, $a;": lambda a: guarded(lambda a, b: a / b)(1.0, a)}.items():
        got = [get(v) for v in run(text, 64, (64,), [(sim.bits64(v),) for v in vals])]
        sim.check(text, got, [fn(v) for v in vals])
    for text, fn in {"testp.finite.f64": math.isfinite, "testp.infinite.f64": math.isinf, "testp.notanumber.f64": math.isnan,
                     "testp.subnormal.f64": lambda v: 0 < abs(v) < 2.3e-308}.items():
        got = run(f"{text} $p, $a; selp.b32 %r9, 1, 0, $p; cvt.u64.u32 $d, %r9;", 64, (64,), [(sim.bits64(v),) for v in vals])
        sim.check(text, got, [int(fn(v)) for v in vals])


def half_tests():
    pairs = [(a, b) for a in (0.0, 1.0, -2.5, 65504.0, 1e-7, math.inf) for b in (1.0, -0.5, 3.0, 65504.0)]

    def half(x):
        try:
            return struct.unpack("<e", struct.pack("<e", x))[0]
        except OverflowError:
            return math.copysign(math.inf, x)
    for text, fn in {"add.f16 $d, $a, $b;": lambda a, b: a + b, "mul.f16 $d, $a, $b;": lambda a, b: a * b,
                     "fma.rn.f16 $d, $a, $b, $a;": lambda a, b: a * b + a}.items():
        got = [struct.unpack("<e", struct.pack("<H", v))[0] for v in
               run(text, 16, (16, 16), [(sim.bits16(a), sim.bits16(b)) for a, b in pairs])]
        sim.check(text, got, [half(fn(half(a), half(b))) for a, b in pairs])
    for text, fn in {"sub.f16 $d, $a, $b;": lambda a, b: a - b, "min.f16 $d, $a, $b;": min, "max.f16 $d, $a, $b;": max}.items():
        got = [struct.unpack("<e", struct.pack("<H", v))[0] for v in
               run(text, 16, (16, 16), [(sim.bits16(a), sim.bits16(b)) for a, b in pairs])]
        sim.check(text, got, [half(fn(half(a), half(b))) for a, b in pairs])
    sim.check("setp.lt.f16", run("setp.lt.f16 $p, $a, $b; selp.b16 $d, 1, 0, $p;", 16, (16, 16),
                                 [(sim.bits16(a), sim.bits16(b)) for a, b in pairs]), [int(half(a) < half(b)) for a, b in pairs])
    short = lambda x: sim.bits32(x) >> 16  # exact: few digits
    for text, want in {"add.bf16 $d, $a, $b;": 3.5, "sub.bf16 $d, $a, $b;": 1.5, "mul.bf16 $d, $a, $b;": 2.5,
                       "fma.rn.bf16 $d, $a, $b, $a;": 5.0, "min.bf16 $d, $a, $b;": 1.0, "neg.bf16 $d, $a;": -2.5}.items():
        sim.check(text, run(text, 16, (16, 16), [(short(2.5), short(1.0))]), [short(want)])
    sim.check("abs.f16x2", run("abs.f16x2 $d, $a;", 32, (32,), [(0xc000bc00,)]), [0x40003c00])
    sim.check("tanh.approx.f16x2", run("tanh.approx.f16x2 $d, $a;", 32, (32,), [(0xc9004900,)]), [0xbc003c00])
    sim.check("ex2.approx.f16", run("ex2.approx.f16 $d, $a;", 16, (16,), [(sim.bits16(3.0),), (sim.bits16(-1.0),)]),
              [sim.bits16(8.0), sim.bits16(0.5)])
    one_two = 0x40003c00
    sim.check("add.f16x2", run("add.f16x2 $d, $a, $b;", 32, (32, 32), [(one_two, one_two)]), [0x44004000])
    sim.check("fma.rn.bf16x2", run("fma.rn.bf16x2 $d, $a, $b, $c;", 32, (32, 32, 32), [(0x40003f80, 0x40003f80, 0x3f803f80)]),
              [0x40a04000])
    sim.check("max.bf16", run("max.bf16 $d, $a, $b;", 16, (16, 16), [(0x3f80, 0xc000), (0x7fff, 0x3f80)]), [0x3f80, 0x3f80])


def convert_tests():
    rows = [
        ("cvt.s64.s32", 64, 32, [(M32, M64), (5, 5)]), ("cvt.u64.u32", 64, 32, [(M32, M32)]),
        ("cvt.u32.u64", 32, 64, [(0x1ffffffff, M32)]), ("cvt.s32.s8", 32, 32, [(0x80, 0xffffff80), (0x17f, 0x7f)]),
        ("cvt.u16.u8", 16, 16, [(0x1ff, 0xff)]), ("cvt.s16.s8", 16, 16, [(0xff, 0xffff)]),
        ("cvt.sat.u8.s32", 32, 32, [(300, 255), (M32, 0), (7, 7)]), ("cvt.sat.s16.s32", 32, 32, [(40000, 0x7fff), (0xffff0000, 0xffff8000)]),
        ("cvt.rn.f32.s32", 32, 32, [(M32, 0xbf800000), (0x01000001, 0x4b800000)]),
        ("cvt.rz.f32.u32", 32, 32, [(M32, 0x4f7fffff)]), ("cvt.rp.f32.u32", 32, 32, [(M32, 0x4f800000)]),
        ("cvt.rzi.s32.f32", 32, 32, [(0xbfc00000, M32), (0x7f800000, 0x7fffffff), (NAN32, 0), (0xff800000, 0x80000000)]),
        ("cvt.rni.s32.f32", 32, 32, [(0x40200000, 2), (0x40600000, 4)]), ("cvt.rpi.s32.f32", 32, 32, [(0x40000001, 3)]),
        ("cvt.rmi.s32.f32", 32, 32, [(0xbf000000, M32)]), ("cvt.rzi.u32.f32", 32, 32, [(0xbf800000, 0), (0x4f800000, M32)]),
        ("cvt.rzi.f32.f32", 32, 32, [(0xbfc00000, 0xbf800000)]), ("cvt.sat.f32.f32", 32, 32, [(0x40000000, 0x3f800000)]),
        ("cvt.f64.f32", 64, 32, [(0x3fc00000, sim.bits64(1.5))]), ("cvt.rn.f32.f64", 32, 64, [(sim.bits64(0.1), 0x3dcccccd)]),
        ("cvt.rz.f32.f64", 32, 64, [(sim.bits64(0.1), 0x3dcccccc)]), ("cvt.rn.f16.f32", 16, 32, [(0x3dcccccd, 0x2e66)]),
        ("cvt.rz.f16.f32", 16, 32, [(0x477fffff, 0x7bff)]), ("cvt.f32.f16", 32, 16, [(0x3c00, 0x3f800000), (0x0001, 0x33800000)]),
        ("cvt.rn.bf16.f32", 16, 32, [(0x3f808000, 0x3f80), (0x3f818000, 0x3f82), (0x3f808001, 0x3f81)]),
        ("cvt.f32.bf16", 32, 16, [(0x3f81, 0x3f810000)]), ("cvt.rna.tf32.f32", 32, 32, [(0x3f801000, 0x3f802000)]),
        ("cvt.rn.f64.s64", 64, 64, [(M64, sim.bits64(-1.0))]), ("cvt.rzi.s64.f64", 64, 64, [(sim.bits64(-2.7), -2 & M64)]),
    ]
    for name, dw, aw, pairs in rows:
        sim.check(name, run(f"{name} $d, $a;", dw, (aw,), [(a,) for a, _ in pairs]), [want for _, want in pairs])
    sim.check("cvt.rn.f16x2.f32", run("cvt.rn.f16x2.f32 $d, $a, $b;", 32, (32, 32), [(0x3f800000, 0x40000000)]), [0x3c004000])


def predicate_tests():
    rows = [(a, b) for a in (0, 1) for b in (0, 1)]
    get = "setp.ne.u32 $p, $a, 0; setp.ne.u32 $q, $b, 0;"
    out = "selp.b32 $d, 1, 0, $p;"
    for text, fn in {"and.pred $p, $p, $q;": lambda a, b: a & b, "or.pred $p, $p, $q;": lambda a, b: a | b,
                     "xor.pred $p, $p, $q;": lambda a, b: a ^ b, "not.pred $p, $q;": lambda a, b: 1 - b,
                     "mov.pred $p, $q;": lambda a, b: b, "and.pred $p, $p, !$q;": lambda a, b: a & (1 - b),
                     "@$q mov.pred $p, 1;": lambda a, b: a | b, "@!$q bra SKIP; mov.pred $p, 0; SKIP:": lambda a, b: a & (1 - b),
                     "setp.eq.and.u32 $p, $a, $b, $q;": lambda a, b: int(a == b and b),
                     "{ .reg .pred x; setp.lt.u32 $p|x, $a, $b; mov.pred $p, x; }": lambda a, b: int(not a < b)}.items():
        sim.check(text, run(get + text + out, 32, (32, 32), rows), [fn(a, b) for a, b in rows])
    sim.check("set.lt.u32.f32", run("set.lt.u32.f32 $d, $a, $b;", 32, (32, 32), [(0, 0x3f800000), (0x3f800000, 0)]), [M32, 0])


sim.init()
integer_tests()
bit_tests()
wide_and_narrow_tests()
float_tests()
half_tests()
convert_tests()
predicate_tests()
sim.finish()
