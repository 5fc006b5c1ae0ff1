#!/usr/bin/env python3
"""Files that nobody sane wrote: the tool reads them, ends with a status of its own, and what it prints
as JSON is JSON.  Run under the sanitizers this is a fuzzer of the readers."""
import json
import os
import random
import struct
import subprocess
import sys

from lib import STATS_BYTES, TOOL, ToolTest, clean_environment, main, stats_image

ROUNDS = 150


class Counters(ToolTest):
    def check(self, data):
        self.write("run/1.stats", data)
        for args in (("stats", "--json", "run/1.stats"), ("report", "--json", "run"), ("stats", "--all", "run/1.stats")):
            done = self.tool(*args, text=False)
            self.assertIn(done.returncode, (0, 1), (args, done.stderr))
            self.assertNotIn(b"Sanitizer", done.stderr)
            if "--json" in args and done.returncode == 0:
                json.loads(done.stdout)
            self.assertTrue(all(b in b"\n" or 32 <= b < 127 for b in done.stdout))

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("run"))

    def test_edges(self):
        whole = stats_image([(b"n" * 40, 1), (b'"\\\x1b\xff', 2), (b"", 3), (b"same", 4), (b"same", 5)], program=b"p" * 32)
        for data in (b"", b"x", whole[:63], whole[:64], whole[:65], whole[:64 + 47], whole[:64 + 48], whole + b"x" * 99999,
                     stats_image([], count=2**32 - 1), stats_image([(b"a.fallback.b", 2**64 - 1)] * 400, count=2**31),
                     stats_image([], version=0), stats_image([], version=2), stats_image([], magic=0)):
            self.check(data)

    def test_names_without_end_stay_apart(self):
        self.write("run/1.stats", stats_image([(b"a" * 40, 7), (b"b", 8)]))
        want = {"a" * 40: 7, "b": 8}
        self.assertEqual(json.loads(self.tool("stats", "--json", "run/1.stats").stdout)["counters"], want)
        done = self.tool("report", "--json", "run", env={"MALLOC_PERTURB_": "65"})
        self.assertEqual(json.loads(done.stdout)["processes"][0]["counters"], want)

    def test_random_changes(self):
        chance = random.Random(20)
        base = stats_image([(b"net.bytes_ring", 10**9), (b"net.fallback.oob", 3), (b"net.tracked", 1)] * 20)
        for _ in range(ROUNDS):
            data = bytearray(base[:chance.choice([64, 100, 1000, STATS_BYTES])])
            for _ in range(chance.randrange(1, 40)):
                data[chance.randrange(8, len(data))] = chance.choice([0, 255, 34, 92, 10, chance.randrange(256)])
            self.check(bytes(data))

    def test_things_that_are_no_files(self):
        os.mkfifo(self.path("run/1.stats"))
        os.mkdir(self.path("run/2.stats"))
        os.symlink("/dev/zero", self.path("run/3.stats"))
        os.symlink("nowhere", self.path("run/4.stats"))
        os.mkfifo(self.path("run/log"))
        done = self.tool("report", "run")
        self.assertEqual(done.returncode, 0)
        self.assertIn("4 files *.stats hold no counters", done.stdout)
        self.assertEqual(self.tool("off", "run").returncode, 1)
        for name in ("1", "2", "3", "4"):
            self.assertEqual(self.tool("stats", f"run/{name}.stats").returncode, 1)


class Programs(ToolTest):
    def test_random_elf_headers(self):
        chance = random.Random(21)
        with open("/bin/true", "rb") as program:
            base = program.read()
        for _ in range(ROUNDS):
            data = bytearray(base)
            for _ in range(chance.randrange(1, 12)):
                data[chance.randrange(4, 64 + 56 * 13)] = chance.choice([0, 1, 127, 255, chance.randrange(256)])
            # never executed: another processor's, or refused by its loader's own listing
            data[18:20] = struct.pack("<H", chance.choice([62, 62, 40]))
            name = self.write("p", bytes(data[:chance.choice([20, 64, 500, len(data)])]), 0o755)
            done = self.tool("doctor", "--json", name, text=False)
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.assertNotIn(b"Sanitizer", done.stderr)
            json.loads(done.stdout)


class Processes(ToolTest):
    def test_a_process_that_only_pretends(self):
        """A file named libdlaccel.so mapped as data, full of noise that begins like ELF."""
        chance = random.Random(22)
        with open(os.environ["DLACCEL_LIBRARY"], "rb") as library:
            base = library.read()
        for i in range(40):
            data = bytearray(base)
            for _ in range(chance.randrange(1, 60)):
                data[chance.randrange(4, 8192)] = chance.choice([0, 255, chance.randrange(256)])
            os.makedirs(self.path(str(i)))
            name = self.write(f"{i}/libdlaccel.so", bytes(data))
            child = self.start(sys.executable, "-c", f"""
import mmap, sys
f = open({name!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
print('ready', flush=True); sys.stdin.read()""")
            self.assertEqual(child.stdout.readline(), "ready\n")
            done = self.tool("stats", "-p", str(child.pid), text=False)
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.assertNotIn(b"Sanitizer", done.stderr)
            self.end(child)


if __name__ == "__main__":
    main()
