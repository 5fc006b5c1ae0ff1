#!/usr/bin/env python3
"""The tool against the real library in programs with real traffic: what it reads is what happened, and
`off` changes it without a byte lost."""
import json
import os
import re
import shutil
import sys
import unittest

from lib import LIBRARY, TOOL, ToolTest, main

# Sends blocks back and forth between two processes and compares every byte; ends at a line on stdin.
ECHO = """
import os, random, socket, sys, threading
SIZE = 1 << 20
def take(sock):
    data = bytearray()
    while len(data) < SIZE:
        part = sock.recv(SIZE - len(data))
        if not part: return None
        data += part
    return data
server = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    sock = socket.create_connection(server.getsockname()); server.close()
    while (data := take(sock)) is not None: sock.sendall(data)
    os._exit(0)
sock, _ = server.accept()
chance = random.Random(7); blocks = [chance.randbytes(SIZE) for _ in range(4)]
asked = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), asked.set()), daemon=True).start()
rounds = 0
while True:
    if rounds == 16: print(os.getpid(), flush=True)
    if rounds > 16 and asked.is_set(): break
    sock.sendall(blocks[rounds % 4])
    assert take(sock) == blocks[rounds % 4], "bytes differ"
    rounds += 1
sock.close(); os.wait()
print(rounds * SIZE, flush=True)
"""

SMALL_MESSAGES = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
one, other = socket.create_connection(listener.getsockname()), listener.accept()[0]
for k in range(75000):
    one.send(b"ab")
    other.recv(2, socket.MSG_WAITALL)
    other.send(b"cd")
    one.recv(2, socket.MSG_WAITALL)
"""


class Live(ToolTest):
    def begin(self):
        child = self.start(TOOL, "run", "-o", "run", "--", sys.executable, "-c", ECHO)
        return child, child.stdout.readline().strip()

    def finish(self, child):
        child.stdin.write("\n")
        child.stdin.flush()
        total = int(child.stdout.readline())
        said = child.stderr.read()
        self.assertEqual(child.wait(), 0, said)
        return total, said

    def counters(self, who):
        done = self.tool("stats", "--json", *who)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["counters"]

    @staticmethod
    def moved(counters, which):
        return sum(counters.get(f"net.{which}_{road}", 0) for road in ("ring", "block", "verbs"))

    def all(self, counters, which):
        return self.moved(counters, which) + sum(counters[f"net.{which}_{road}"] for road in ("plain", "inline"))

    def profile_agrees(self, report):
        """The profile attributes what the counters count: it begins before the first byte that is not plain."""
        counted = {one["pid"]: (one["sent"], one["received"]) for one in report["processes"]}
        for profile in report["profiles"]:
            for name, roads in (("shm", ("ring", "block")), ("verbs", ("verbs",)), ("kernel", ("inline",))):
                self.assertEqual(profile["socket_bytes"][name], sum(way[road] for way in counted[profile["pid"]] for road in roads), name)

    def plain_for_a_while(self, pid):
        before = self.counters(["-p", pid])
        enough = before["net.bytes_inline"] + (64 << 20)
        self.until(lambda: self.counters(["-p", pid])["net.bytes_inline"] > enough, "it goes on")
        return self.moved(self.counters(["-p", pid]), "bytes") == self.moved(before, "bytes")

    def test_every_byte_is_counted_once(self):
        child, _ = self.begin()
        total, said = self.finish(child)
        report = json.loads(self.tool("report", "--json", "run").stdout)
        self.assertEqual(len(report["processes"]), 2)
        for one in report["processes"]:
            self.assertEqual((one["sent"]["all"], one["received"]["all"]), (total, total))
            self.assertGreater(one["sent"]["moved"], 0)
        self.assertEqual(report["sent"]["moved"], report["received"]["moved"])
        self.assertEqual(sorted(p["pid"] for p in report["profiles"]), sorted(p["pid"] for p in report["processes"]))
        self.profile_agrees(report)
        self.assertRegex(said, r"dlaccel: rc=0 after [\d.]+ s, 2 processes took part\n  sent +[\d.]+ \w+ of ")
        self.assertIn("dlaccel: next: dlaccel report run\n", said)

    def test_small_messages_share_records(self):
        """More calls than the file has records: a record for each would leave the later ones out."""
        done = self.tool("run", "-o", "run", "--", sys.executable, "-c", SMALL_MESSAGES, env={"DLACCEL_NET_THRESHOLD": "2K"})
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(self.tool("report", "--json", "run").stdout)
        self.assertGreater(report["sent"]["all"] - report["processes"][0]["sent"]["plain"], 2 * 70000)
        self.profile_agrees(report)

    def test_off_brings_both_directions_back(self):
        for who in (["-p", None], ["run"]):
            child, pid = self.begin()
            who = [word or pid for word in who]
            self.assertGreater(self.moved(self.counters(["-p", pid]), "bytes"), 0)
            self.assertEqual(self.tool("off", *who, "sockets").returncode, 0)
            self.until(lambda: self.counters(["-p", pid])["net.fallback.switched_off"] > 0, "the process obeys")
            self.until(lambda: self.counters(["-p", pid])["net.plain_again"] > 0, "its stream goes back")
            self.until(lambda: self.plain_for_a_while(pid), "it goes on, over TCP only")
            _, said = self.finish(child)
            self.assertIn("turned off by dlaccel off", said)
            report = json.loads(self.tool("report", "--json", "run").stdout)
            self.assertGreater(sum(one["socket_bytes"]["kernel"] for one in report["profiles"]), 64 << 20)
            self.profile_agrees(report)
            shutil.rmtree(self.path("run"))

    def test_off_from_the_start_moves_nothing(self):
        child = self.start(TOOL, "run", "-o", "run", "--off", "sockets", "--", sys.executable, "-c", ECHO)
        child.stdout.readline()
        self.finish(child)
        self.assertFalse([name for name in os.listdir(self.path("run")) if name.endswith(".stats")])

    def test_a_log_without_its_folder_goes_to_stderr(self):
        for asked, there in (({"DLACCEL_LOG": "info"}, True), ({}, False)):
            child = self.start(sys.executable, "-c", ECHO, env={"LD_PRELOAD": LIBRARY, "DLACCEL_DIR": self.path("none"), **asked})
            child.stdout.readline()
            _, said = self.finish(child)
            self.assertEqual("shared memory with pid" in said, there, said)

    @unittest.skipUnless(os.getuid() == 0 and shutil.which("unshare"), "needs root for a small disk of its own")
    def test_a_full_disk_is_said(self):
        os.mkdir(self.path("disk"))
        child = self.start("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=24k none disk && exec "$@"', "sh",
                           TOOL, "run", "-o", "disk/run", "--", sys.executable, "-c", ECHO)
        child.stdout.readline()
        _, said = self.finish(child)
        self.assertRegex(said, r"rc=0 after [\d.]+ s, 1 process took part\ndlaccel: 1 file \*\.stats hold no counters: is the disk full\?\n")

    def test_counters_survive_sigkill_of_everything(self):
        child, pid = self.begin()
        os.kill(int(pid), 9)
        self.assertEqual(child.wait(), -9)
        self.assertGreater(self.moved(self.counters([f"run/{pid}.stats"]), "bytes"), 0)


if __name__ == "__main__":
    main()
