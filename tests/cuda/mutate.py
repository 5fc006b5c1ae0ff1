#!/usr/bin/env python3
"""Takes one rule of gpu/ out at a time and asks that a test notices.

The rules are taken out of a copy of the built library: a row of the barrier table becomes PASS, the function of
a row that has one of its own becomes a jump to the driver's, or a function becomes one that only returns. Every row
that is not PASS must have a test that notices. Arguments: the library, the stub driver's folder, the simulated
driver's folder, gpu/driver.def, the programs `order`, `errors`, `fuzz`, `launch`, `window`, `intercept`, `known` and
`forks`.
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

RETURN = {62: {None: b"\xc3", 0: b"\x31\xc0\xc3", 1: b"\xb8\x01\x00\x00\x00\xc3"},
          183: {None: b"\xc0\x03\x5f\xd6", 0: b"\x00\x00\x80\x52\xc0\x03\x5f\xd6",
                1: b"\x20\x00\x80\x52\xc0\x03\x5f\xd6"}}
PASS = 0
# The random programs notice a rule that is gone by what the threads happen to do: most runs do, each by itself may not.
TRIES = 12
# Before these entries something else waits for the queue, too; it is taken out with their row.
ALSO = {"Ctx": "queues_close", "Unload": "queues_forget_all", "StreamDestroy": "queues_forget_stream",
        "SetLimit": "queues_attribute", "EventDestroy": "queues_forget_event", "FuncSet": "queues_attribute", "KernelSet": "queues_attribute",
        "StreamSet": "queues_stream_attributes", "StreamCopy": "queues_stream_attributes"}


class Library:
    """Symbols of an ELF file and where their bytes lie in it."""

    def __init__(self, path):
        self.data = open(path, "rb").read()
        self.machine = struct.unpack_from("<H", self.data, 18)[0]
        shoff, = struct.unpack_from("<Q", self.data, 40)
        size, count = struct.unpack_from("<HH", self.data, 58)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", self.data, shoff + i * size)
                         for i in range(count)]
        table = next(s for s in self.sections if s[1] == 2)
        strings = self.sections[table[6]][4]
        self.symbols, self.address = {}, {}
        for at in range(table[4], table[4] + table[5], 24):
            name, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", self.data, at)
            if 0 < section < len(self.sections):
                text = self.data[strings + name:self.data.index(b"\0", strings + name)].decode()
                s = self.sections[section]
                self.symbols[text] = value - s[3] + s[4]
                self.address[text] = value

    def write(self, path, changes):
        """changes: (symbol, offset, bytes)"""
        data = bytearray(self.data)
        for symbol, offset, new in changes:
            at = self.symbols[symbol] + offset
            data[at:at + len(new)] = new
        with open(path, "wb") as f:
            f.write(data)

    def returning(self, symbol, value):
        return symbol, 0, RETURN[self.machine][value]

    def unhooked(self, name, row):
        """The entry as if it had no function of its own: a jump to where cuda_real says."""
        here, real = self.address["hook_" + name], self.address["cuda_real"] + 8 * row
        if self.machine == 62:
            return "hook_" + name, 0, b"\xff\x25" + struct.pack("<i", real - here - 6)
        pages = (real >> 12) - (here >> 12)
        return "hook_" + name, 0, struct.pack("<III", 0x90000010 | (pages & 3) << 29 | (pages >> 2 & 0x7ffff) << 5,
                                              0xf9400210 | (real & 0xfff) >> 3 << 10, 0xd61f0200)


def rows(table):
    """Names and classes, in the order of the table."""
    text = open(table).read()
    text = text.replace('#include "driver_graphics.def"',
                        open(os.path.join(os.path.dirname(table), "driver_graphics.def")).read())
    return re.findall(r"^CU\((\w+), \w+, (\w+),", text, re.M)


class Suite:
    def __init__(self, library, stub, sim, programs, scratch):
        self.library, self.stub, self.sim = Library(library), stub, sim
        self.programs, self.copy = programs, os.path.join(scratch, "libdlaccel.so")
        self.bare = {}

    def run(self, program, args, driver, preload, **more):
        env = dict(os.environ, LD_LIBRARY_PATH=driver, **more)
        env.pop("LD_PRELOAD", None)
        if preload:
            env["LD_PRELOAD"] = self.copy
        try:
            p = subprocess.run([self.programs[program], *args], env=env, timeout=60,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return None
        return p.returncode, p.stdout

    def order(self, name):
        r = self.run("order", [name] if name else [], self.stub, True, DLACCEL_CUDA_GRAPHS="0")
        return r is not None and r[0] == 0

    def forks(self, _):
        r = self.run("forks", [], self.stub, True, DLACCEL_CUDA_WAIT="20s", DLACCEL_CUDA_ADAPT="0")
        return r is not None and r[0] == 0

    def progress(self, case):
        r = self.run("progress", [case], self.sim, True, DLACCEL_CUDA_WAIT="20s", DLACCEL_CUDA_ADAPT="0", WANT_GRAPHS="1")
        return r is not None and r[0] == 0

    def known(self, name):
        r = self.run("known", [name], self.stub, True, DLACCEL_CUDA_GRAPHS="0")
        return r is not None and r[0] == 0

    def window(self, name):
        r = self.run("window", ["alloc", name], self.stub, True, DLACCEL_CUDA_WAIT="20s", DLACCEL_CUDA_ADAPT="0")
        return r is not None and r[0] == 0

    def intercept(self, _):
        r = self.run("intercept", ["on"], self.stub, True)
        return r is not None and r[0] == 0

    def errors(self, name):
        r = self.run("errors", [name], self.sim, True)
        return r is not None and r[0] == 0

    def fuzz(self, seeds, **more):
        args, settings = seeds.split(), {"SIMCUDA_SEED": "5", **more}
        if seeds not in self.bare:
            self.bare[seeds] = self.run("fuzz", args, self.sim, False, **settings)
        return self.run("fuzz", args, self.sim, True, **settings) == self.bare[seeds]

    def windows(self, seeds):
        return self.fuzz(seeds, SIMCUDA_DELAY_US="5", DLACCEL_CUDA_WAIT="1s", DLACCEL_CUDA_ADAPT="0")

    def memory(self, case):
        r = self.run("errors", [case], self.sim, True, SIMCUDA_MEMORY="8m", SIMCUDA_GRAPH_BYTES="4k",
                     DLACCEL_CUDA_ADAPT="0", DLACCEL_CUDA_WAIT="5s")
        return r is not None and r[0] == 0

    def batching(self, shape):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "batching.py")
        return not subprocess.run([sys.executable, script, self.copy, self.sim, self.programs["launch"], shape],
                                  stdout=subprocess.DEVNULL).returncode

    def passes(self, test, arg):
        return all(getattr(self, test)(arg) for _ in range(TRIES))

    def survives(self, what, test, arg):
        """A mutant that no run of its test kills."""
        if not self.passes(test, arg):
            return 0
        print(f"{what}: {test} {arg} did not notice")
        return 1


# Rows with a function of their own: what notices that it is gone. The first that fits.
HOOKS = [("cuMem", "window", None), ("cuInit", "window", "cuMemAlloc_v2"), ("cuStreamBeginCapture", "order", None),
         ("cuStreamEndCapture", "order", None), ("cuGetProcAddress", "intercept", None),
         ("cuModuleGet", "window", None), ("cuKernelGetFunction", "window", None),
         ("cuStreamCreate", "window", None), ("cuEventCreate", "window", None),
         ("cuDevicePrimaryCtxRetain", "window", None)]


def cover_of(barrier, name):
    """(test, argument), or None."""
    if barrier == "ALLOC":
        return "window", name
    return next(((test, arg or name) for start, test, arg in HOOKS if name.startswith(start)), None)


FUNCTIONS = [
    ("gpu_capture_begins", None, "order", "cuStreamBeginCapture_v2"),
    ("queue_take_error", 0, "order", "cuCtxSynchronize"),
    ("queue_drain", None, "order", "cuMemFree_v2"),
    ("queue_ticket", 0, "order", "cuEventQuery"),
    ("hook_cuStreamWaitEvent", 0, "fuzz", "1 40"),
    ("hook_cuEventRecord", 0, "fuzz", "1 40"),
    ("memory_is_pinned", 1, "fuzz", "1 40"),
    ("queues_give_back", 0, "memory", "memory"),
    ("memory_forget", None, "errors", "freed"),
    ("memory_forget", None, "known", "cuMemUnmap"),
    ("memory_forget_context", None, "known", "cuCtxDestroy_v2"),
    ("memory_is_pageable", 1, "known", "rules"),
    ("queues_forget_event", None, "known", "cuEventDestroy_v2"),
    ("queues_forget_events", None, "known", "rules"),
    ("queues_forget_all", None, "errors", "unloaded"),
    ("queues_forget_stream", None, "errors", "destroyed"),
    ("queues_attribute", None, "errors", "attribute"),
    # Graphs of several streams: what goes in, what orders it, what comes behind it.
    ("plan_closed", 1, "batching", "overlap"),
    ("plan_after", None, "windows", "10001 120"),
    ("streams_passed_by", None, "forks", ""),
    ("streams_may_enter", 1, "forks", ""),
    ("queue_is_passed", 0, "progress", "late"),
    ("queue_pass", None, "progress", "late"),
    ("queue_passed", None, "progress", "late"),
    ("batch_make_way", 0, "forks", ""),
    ("batch_forget_stream", None, "forks", ""),
    ("streams_left", None, "windows", "10001 120"),
    ("streams_settle", 0, "windows", "10001 120"),
    ("node_update", 0, "windows", "10001 120"),
    ("graph_forget_event", None, "windows", "10001 120"),
]


def main():
    library, stub, sim, table = sys.argv[1:5]
    programs = dict(zip(("order", "errors", "fuzz", "launch", "window", "intercept", "known", "forks",
                         "progress"), sys.argv[5:14]))
    left = count = 0
    with tempfile.TemporaryDirectory() as scratch:
        suite = Suite(library, stub, sim, programs, scratch)
        shutil.copy(library, suite.copy)
        table = rows(table)
        hooks = [(i, name, cover_of(barrier, name)) for i, (barrier, name) in enumerate(table)
                 if barrier in ("HOOK", "ALLOC")]
        for _, name, cover in hooks:
            if not cover:
                print(f"no test covers {name}")
                return 1
        # As often as with a rule taken out: one that fails now and then would notice anything. ("": all rows of `order`.)
        for test, arg in sorted({f[2:] for f in FUNCTIONS} | {cover for *_, cover in hooks} | {("order", "")}):
            if not suite.passes(test, arg):
                print(f"{test} {arg} fails with nothing taken out")
                return 1
        for i, (barrier, name) in enumerate(table):
            if barrier == "PASS" or (barrier == "HOOK" and "Async" not in name):
                continue
            also = [suite.library.returning(f, 0) for part, f in ALSO.items() if part in name]
            suite.library.write(suite.copy, [("gpu_barrier_class", i, bytes([PASS])), *also])
            left += suite.survives(f"{name} without its {barrier}", "order", name)
            count += 1
        for i, name, cover in hooks:
            suite.library.write(suite.copy, [suite.library.unhooked(name, i)])
            left += suite.survives(f"{name} without its function", *cover)
            count += 1
        for name, value, test, arg in FUNCTIONS:
            suite.library.write(suite.copy, [suite.library.returning(name, value)])
            left += suite.survives(name, test, arg)
            count += 1
    print(f"{count} rules taken out one by one, {left} not missed")
    return left != 0


sys.exit(main())
