#!/usr/bin/env python3
"""Takes out one fence, doorbell or re-check after the other and demands that the tests notice.

    mutate.py [--only NAME,...] [--list] [--source DIR]

A line of rdma/ or shim/ that is marked `/* MUTATE: name */` is mutated in a copy of the tree: a
condition becomes false, `return call();` becomes `return true;`, an initialiser the harmless value in
SPECIAL, any other statement is removed; what a fence keeps apart is done in the wrong order (REORDERED). In the
copy threads pause now and then between their accesses to what they share (pauses.h), mutated or not: with
that alone a re-check that nothing else notices within minutes is missed within seconds. The copy is built, and
the checks below run until one fails.
Exit status: 0 all mutants were noticed and the tree itself was not, 1 otherwise.

What one machine does not show within these seeds (a fence that x86 has anyway, two threads that read
one socket) must be noticed by the model, which tries every interleaving: tests/model, `protocol --without NAME`.
It also says of what it can do without why that is so. Not part of the test suites: it takes an hour and more of
a machine to itself, so run it in parts (--only). The model's own half of it is in suite unit (model-mutations).
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from test_settings import EVERY_PATH  # noqa: E402

TAG = re.compile(r"/\* MUTATE: (\w+) \*/")
SPECIAL = {
    # Without it the doorbell is believed to be sent; `false` would only keep the stream inline.
    "first_doorbell": ("if (doorbell(s, fd))", "if (1)"),
    "recheck_before_sleep": ("stream_ready(s)", "READY_NO"),
    "drain_settle": ("stream_swallow(s, fd, tx) | any", "any"),
    "direct_recheck": ("load_rlx(s->side->segr) == r", "1"),
    "switch_recheck": ("!(load_acq(h->plain) & BUSY_MASK)", "1"),
    "plain_recheck": ("!load_acq(h->away)", "1"),
}
# Steps that the model has under another name: poll goes to sleep as recv does.
MODEL_NAME = {"poll_recheck": "recheck_before_sleep", "epoll_recheck": "recheck_before_sleep"}
# The cheapest first; the first two find what is plainly missing.
CHECKS = [
    # (environment, program and arguments); {pair} stands for run_pair.py --lib LIB --variants both --
    ({"PAUSE_ONE_IN": "32"}, "{fuzz} race --seeds 0:16 --rounds 400 --preload {lib}"),
    ({"DLACCEL_SPIN": "500"}, "{fuzz} race --seeds 0:8 --rounds 2000 --preload {lib}"),
    ({}, "{fuzz} step --seeds 0:10 --preload {lib}"),
    ({}, "{fuzz} walk --seeds 66 --rounds 1500 --stride 5 --preload {lib}"),
    ({}, "{fuzz} walk --seeds 0:112 --rounds 1500 --stride 61 --preload {lib}"),
    ({"DLACCEL_SPIN": "20"}, "{fuzz} race --seeds 0:28 --rounds 10000 --preload {lib}"),
    ({}, "{fuzz} stream --seeds 0:8 --mib 8 --preload {lib}"),
    ({}, "{fuzz} step --seeds 10:50 --preload {lib}"),
    ({}, "{pair} {preload}/pair_fork_server"),
    ({}, "{pair} {preload}/pair_half_close"),
    ({}, "{pair} {preload}/pair_epoll_threads"),
    ({}, "{pair} {preload}/pair_et_short"),
    ({}, "{pair} {preload}/pair_threads_one_socket"),
]
SECONDS = 240


def tagged_lines(source):
    """(name, file, line number from 0) of every mark."""
    found = []
    for folder in ("rdma", "shim"):
        for top, _, names in sorted(os.walk(os.path.join(source, folder))):
            for name in sorted(n for n in names if n.endswith((".c", ".h"))):
                path = os.path.join(top, name)
                with open(path) as f:
                    for i, line in enumerate(f):
                        for tag in TAG.findall(line):
                            found.append((tag, os.path.relpath(path, source), i))
    return found


def mutate(name, line):
    code = TAG.sub("", line)
    if name in SPECIAL:
        old, new = SPECIAL[name]
        assert old in code, f"{name}: {old} is not there any more: {line}"
        return code.replace(old, new)
    m = re.match(r"(\s*(?:\} else )?(?:if|while) \()(.*)(\)\s*(?:\{|\w.*;)?\s*)$", code)
    if m:
        return f"{m[1]}0 && ({m[2]}){m[3]}"
    if re.match(r"\s*return .*;\s*$", code):
        return re.sub(r"return .*;", "return true;", code)
    assert code.rstrip().endswith(";"), f"{name}: not one statement: {line}"
    return re.sub(r"\S.*;", ";", code)


# A processor without the fence may do what stands behind it before what stands in front of it.  x86 does so for
# nanoseconds only, and never across a locked instruction, so the mutant does it itself, and pauses in between.
REORDERED = {
    "fence_ringing": [
        ("\tstore_rlx(o->ringing, 1);\n\tfull_fence(); /* MUTATE: fence_ringing */\n\tif (load_rlx(o->closing)) {",
         "\tbool closing = load_rlx(o->closing);\n\tpause_sometimes();\n\tstore_rlx(o->ringing, 1);\n\tif (closing) {"),
    ],
    "fence_publish": [
        ("static bool may_elide(struct stream *s)\n", "static __thread bool read_early, elides;\n\nstatic bool may_elide(struct stream *s)\n"),
        ("\tstore_rel(s->out->rw, rw + k);\n\twithdrawn", "\telides = may_elide(s);\n\tread_early = true;\n\tpause_sometimes();\n\tstore_rel(s->out->rw, rw + k);\n\twithdrawn"),
        ("\tfull_fence(); /* MUTATE: fence_publish */\n", ""),
        ("\tif (may_elide(s)) {\n", "\tif (read_early ? elides : may_elide(s)) {\n\t\tread_early = false;\n"),
        ("\tif (may_defer &&", "\tread_early = false;\n\tif (may_defer &&"),
    ],
    "fence_closing": [
        ("\tif (for_good)\n\t\tstore_rlx(s->in->closing, 1);\n\tfull_fence(); /* MUTATE: fence_closing */\n\twait_for_ringing(s);",
         "\tbool ringing = load_acq(s->in->ringing);\n\tpause_sometimes();\n\tif (for_good)\n\t\tstore_rlx(s->in->closing, 1);\n\tif (ringing)\n\t\twait_for_ringing(s);"),
    ],
    "fence_switch": [
        ("\tstore_rel(h->away, AWAY_SWITCHING);\n\tfull_fence(); /* MUTATE: fence_switch */\n\tif (!(load_acq(h->plain) & BUSY_MASK)) {",
         "\tuint64_t plain = load_acq(h->plain);\n\tpause_sometimes();\n\tstore_rel(h->away, AWAY_SWITCHING);\n\tif (!(plain & BUSY_MASK)) {"),
    ],
}
# What both ends share is read and written by these; the copy's pause before it reads and after it has written.
PAUSES = [
    ("#define load_acq(p) atomic_load", "#define load_acq(p) (pause_sometimes(), atomic_load"),
    ("(&(p), memory_order_acquire)", "(&(p), memory_order_acquire))"),
    ("#define load_rlx(p) atomic_load", "#define load_rlx(p) (pause_sometimes(), atomic_load"),
    ("(&(p), memory_order_relaxed)", "(&(p), memory_order_relaxed))"),
    ("#define store_rel(p, v) atomic_store", "#define store_rel(p, v) (atomic_store"),
    ("(&(p), v, memory_order_release)", "(&(p), v, memory_order_release), pause_sometimes())"),
    ('#include "lock.h"\n', '#include "../tests/fuzz/pauses.h"\n#include "lock.h"\n'),
]


class Tree:
    """A copy of the sources with a build of its own, in which threads get in one another's way more often."""

    def __init__(self, source, top):
        self.source, self.path = source, os.path.join(top, "tree")
        os.mkdir(self.path)
        for name in ("meson.build", "meson_options.txt", "shim", "rdma", "gpu", "profiler", "tools", "examples",
                     "man", "tests", "README.md", "LICENSE"):
            copy = shutil.copytree if os.path.isdir(os.path.join(source, name)) else shutil.copy
            copy(os.path.join(source, name), os.path.join(self.path, name))
        self.replace("rdma/stream.h", PAUSES)
        self.build = os.path.join(self.path, "build")
        subprocess.run(["meson", "setup", self.build, self.path], check=True,
                       stdout=subprocess.DEVNULL)
        self.targets = ["shim/libdlaccel.so", "tests/fuzz/diff_fuzz", "tests/model/protocol"]
        self.targets += sorted({arg.split("/")[-1].replace("pair_", "tests/preload/pair_", 1)
                                for _, c in CHECKS for arg in c.split() if "/pair_" in arg})

    def replace(self, path, pairs):
        """Each old text, which is there once, by its new one; returns the file as it was."""
        with open(os.path.join(self.path, path)) as f:
            whole = text = f.read()
        for old, new in pairs:
            assert text.count(old) == 1, f"{path}: {old} is there {text.count(old)} times"
            text = text.replace(old, new)
        self.put(path, text)
        return whole

    def put(self, path, text):
        with open(os.path.join(self.path, path), "w") as f:
            f.write(text)

    def compile(self):
        subprocess.run(["ninja", "-C", self.build, *self.targets], check=True,
                       stdout=subprocess.DEVNULL)

    def mutate(self, name, path, number):
        """Returns the file as it was."""
        whole = self.replace(path, REORDERED.get(name, []))
        if name not in REORDERED:
            lines = whole.splitlines(keepends=True)
            lines[number] = mutate(name, lines[number])
            self.put(path, "".join(lines))
        return whole

    def command(self, text):
        lib = os.path.join(self.build, "shim/libdlaccel.so")
        pair = [sys.executable, os.path.join(self.path, "tests/harness/run_pair.py"), "--lib", lib,
                "--variants", "both", "--timeout", "60", "--"]
        argv = []
        for word in text.split():
            argv += pair if word == "{pair}" else [word.format(
                lib=lib, fuzz=os.path.join(self.build, "tests/fuzz/diff_fuzz"),
                preload=os.path.join(self.build, "tests/preload"))]
        return argv

    def first_failure(self):
        """The check that fails, or None."""
        for env, text in CHECKS:
            full = {**os.environ, **EVERY_PATH, **env}
            child = subprocess.Popen(self.command(text), env=full, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, start_new_session=True)
            try:
                if child.wait(SECONDS):
                    return text
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, 9)
                child.wait()
                return f"{text} (no end)"
        return None


    def model_verdict(self, name):
        """How the model notices it or why nothing depends on it; None if it does neither."""
        model = os.path.join(self.build, "tests/model/protocol")
        done = subprocess.run([model, "--without", MODEL_NAME.get(name, name)], capture_output=True, text=True, check=False)
        return None if done.returncode else "the model: " + done.stdout.strip()


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    p.add_argument("--source", default=os.path.join(here, "..", ".."))
    p.add_argument("--only", default="")
    p.add_argument("--list", action="store_true")
    args = p.parse_args()
    marks = tagged_lines(os.path.abspath(args.source))
    only = set(filter(None, args.only.split(",")))
    if args.list:
        print("\n".join(f"{name:24} {path}:{number + 1}" for name, path, number in marks))
        return 0
    survivors = []
    with tempfile.TemporaryDirectory() as top:
        tree = Tree(os.path.abspath(args.source), top)
        tree.compile()
        # Checks that fail by themselves would "notice" everything.
        failure = tree.first_failure()
        print(f"{'(no mutation)':24} {'FAILS: ' + failure if failure else 'passes'}", flush=True)
        for name, path, number in marks if not failure else []:
            if only and name not in only:
                continue
            whole = tree.mutate(name, path, number)
            tree.compile()
            found = tree.first_failure() or tree.model_verdict(name)
            tree.put(path, whole)
            print(f"{name:24} {'noticed by ' + found if found else 'SURVIVES'}", flush=True)
            if not found:
                survivors.append(name)
    print(f"{len(survivors)} survivors {survivors}")
    return 1 if survivors or failure else 0


if __name__ == "__main__":
    sys.exit(main())
