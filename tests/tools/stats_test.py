#!/usr/bin/env python3
"""dlaccel stats, off and report: the numbers are those that the process has."""
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

from lib import FIXTURES, LIBRARY, PATIENCE, TOOL, ToolTest, clean_environment, main, stats_image

COUNTING = os.path.join(FIXTURES, "counting")
# As redis and nginx do, for the title that ps shows.
OVERWRITES_ENVIRONMENT = """
import ctypes, socket
environ = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), 'environ')
for text in iter(iter(environ).__next__, None):
    ctypes.memset(text, 0, len(ctypes.string_at(text)))
"""
GOES_ELSEWHERE = "import os, socket\nos.chdir('/')\n"
TRAFFIC = """
listener = socket.create_server(('127.0.0.1', 0))
one, other = socket.create_connection(listener.getsockname()), listener.accept()[0]
for end, peer in ((one, other), (other, one)):
    end.sendall(bytes(50000))
    while len(peer.recv(50000, socket.MSG_PEEK)) < 50000:
        pass
    peer.recv(50000)
"""


class Live(ToolTest):
    def counting(self, *args, library=LIBRARY, **more):
        child = self.start(COUNTING, *args, env={"LD_PRELOAD": library}, **more)
        self.assertEqual(child.stdout.readline(), "ready\n")
        return child

    def off_word(self, child):
        child.stdin.write("\n")
        child.stdin.flush()
        return int(child.stdout.readline())

    def stats(self, *args):
        done = self.tool("stats", "--json", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_values_of_a_living_process(self):
        child = self.counting("net.bytes_ring=123456789012", "net.fallback.oob=7", f"log.lines={2**64 - 1}")
        seen = self.stats("-p", str(child.pid))
        self.assertEqual((seen["pid"], seen["program"], seen["off"]), (child.pid, "counting", 0))
        self.assertEqual({k: v for k, v in seen["counters"].items() if v},
                         {"net.bytes_ring": 123456789012, "net.fallback.oob": 7, "log.lines": 2**64 - 1})
        text = self.tool("stats", "-p", str(child.pid)).stdout
        self.assertRegex(text, r"net\.bytes_ring +123456789012  payload sent through a shared ring\n")
        self.assertNotIn("net.bytes_block", text)
        self.assertIn("net.bytes_block", self.tool("stats", "--all", "-p", str(child.pid)).stdout)

    def test_library_deleted_since(self):
        copy = shutil.copy(LIBRARY, self.path("libdlaccel.so"))
        child = self.counting("net.open=5", library=copy)
        os.unlink(copy)
        self.assertEqual(self.stats("-p", str(child.pid))["counters"]["net.open"], 5)

    def test_environment_overwritten(self):
        os.mkdir(self.path("title"), 0o700)
        child = self.start(sys.executable, "-c", OVERWRITES_ENVIRONMENT + TRAFFIC, env={
            "LD_PRELOAD": LIBRARY, "DLACCEL_DIR": self.path("title"), "DLACCEL_NET_THRESHOLD": "2K"})
        self.assertEqual(child.wait(), 0)
        self.assertIn(f"{child.pid}.stats", os.listdir(self.path("title")))

    def test_relative_folder_of_a_program_that_goes_elsewhere(self):
        os.mkdir(self.path("here"), 0o700)
        child = self.start(sys.executable, "-c", GOES_ELSEWHERE + TRAFFIC, env={
            "LD_PRELOAD": LIBRARY, "DLACCEL_DIR": "here", "DLACCEL_LOG": "info", "DLACCEL_NET_THRESHOLD": "2K"})
        self.assertEqual(child.wait(), 0)
        self.assertIn(f"{child.pid}.stats", os.listdir(self.path("here")))
        self.assertIn(f"{child.pid}.record", os.listdir(self.path("here")))

    def test_other_processes(self):
        bare = self.start("sleep", "1000")
        done = self.tool("stats", "-p", str(bare.pid))
        self.assertEqual(done.returncode, 1)
        self.assertIn("libdlaccel.so is not in it", done.stderr)
        bare.kill()
        bare.wait()
        self.assertIn("no such process", self.tool("stats", "-p", str(bare.pid)).stderr)
        for wrong in ("0", "-1", "x", "1x", "99999999999"):
            self.assertEqual(self.tool("stats", "-p", wrong).returncode, 2, wrong)

    def test_off_sets_the_word_in_the_process(self):
        child = self.counting()
        self.assertEqual(self.off_word(child), 0)
        self.assertEqual(self.tool("off", "-p", str(child.pid), "cuda").returncode, 0)
        self.assertEqual(self.off_word(child), 2)
        self.assertEqual(self.tool("off", "-p", str(child.pid), "sockets").returncode, 0)
        self.assertEqual(self.off_word(child), 3)
        other = self.counting()
        done = self.tool("off", "-p", str(other.pid))
        self.assertEqual((self.off_word(other), done.stdout), (3, f"{other.pid} counting: sockets, cuda off\n"))

    def test_off_by_folder_reaches_the_living_only(self):
        os.mkdir(self.path("run"))
        child = self.counting("-f", self.path("run/1.stats"))
        gone = stats_image([(b"net.open", 1)], pid=2**22 + 1)
        self.write("run/2.stats", gone)
        self.write("run/3.stats", "nonsense")
        os.symlink("2.stats", self.path("run/4.stats"))
        self.assertEqual(self.tool("off", "run", "sockets").returncode, 0)
        self.assertEqual(self.off_word(child), 1)
        with open(self.path("run/2.stats"), "rb") as left:
            self.assertEqual(left.read(), gone)
        with open(self.path("run/3.stats"), "rb") as left:
            self.assertEqual(left.read(), b"nonsense")
        child.kill()
        child.wait()
        self.assertEqual(self.tool("off", "run").returncode, 1)

    def test_off_wrong_use(self):
        self.assertEqual(self.tool("off").returncode, 2)
        self.assertEqual(self.tool("off", "-p", "1", "nonsense").returncode, 2)
        self.assertEqual(self.tool("off", "nowhere").returncode, 1)

    def test_file_outlives_sigkill(self):
        child = self.counting("-f", self.path("1.stats"), "net.blocks=42")
        child.kill()
        child.wait()
        self.assertEqual(self.stats("1.stats")["counters"]["net.blocks"], 42)

    def test_watch_ends_with_the_process(self):
        child = self.counting("net.open=9")
        watch = self.start(TOOL, "stats", "--watch=1", "--json", "-p", str(child.pid))
        self.assertEqual(json.loads(watch.stdout.readline())["counters"]["net.open"], 9)
        child.kill()
        child.wait()
        self.assertEqual(watch.wait(PATIENCE), 0)

    def test_prometheus(self):
        child = self.counting("net.bytes_ring=77")
        done = self.tool("stats", "-p", str(child.pid), "--prometheus", "out.prom")
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        with open(self.path("out.prom")) as out:
            text = out.read()
        self.assertIn(f'\ndlaccel_net_bytes_ring{{pid="{child.pid}",program="counting"}} 77\n', text)
        for line in text.splitlines():
            self.assertRegex(line, r'^(# (HELP|TYPE) dlaccel_[a-z0-9_]+ \S.*|dlaccel_[a-z0-9_]+\{pid="\d+",program="[^"]*"\} \d+)$')
        self.assertEqual(os.listdir(self.dir), ["out.prom"])
        self.assertEqual(self.tool("stats", "-p", str(child.pid), "--prometheus", "none/out").returncode, 1)

    @unittest.skipUnless(os.getuid() == 0, "needs root to become another user")
    def test_of_another_user(self):
        child = self.counting()
        os.chmod(self.dir, 0o755)
        copy = shutil.copy(TOOL, self.path("dlaccel"))  # the build may lie below a folder that others cannot enter
        done = subprocess.run([copy, "stats", "-p", str(child.pid)], user=65534, group=65534, extra_groups=[], cwd="/",
                              env=clean_environment(), capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("not permitted", done.stderr)


class Folder(ToolTest):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("run"))
        self.write("run/11.stats", stats_image([
            (b"net.tracked", 4), (b"net.upgraded", 3), (b"net.bytes_ring", 1_000_000_000), (b"net.bytes_block", 2_000_000_000),
            (b"net.bytes_inline", 50_000_000), (b"net.recv_plain", 500), (b"net.fallback.oob", 2)], pid=11, program=b"python", started=5))
        self.write("run/12.stats", stats_image([
            (b"net.tracked", 1), (b"net.bytes_plain", 150_000_000), (b"net.fallback.oob", 1), (b"net.fallback.news", 9)],
            pid=12, program=b"redis", started=4))

    def test_sums(self):
        done = self.tool("stats", "--json", "run")
        sums = json.loads(done.stdout)["counters"]
        self.assertEqual(sums, {"net.tracked": 5, "net.upgraded": 3, "net.bytes_ring": 10**9, "net.bytes_block": 2 * 10**9,
                                "net.bytes_inline": 5 * 10**7, "net.recv_plain": 500, "net.fallback.oob": 3,
                                "net.bytes_plain": 15 * 10**7, "net.fallback.news": 9})

    def test_report_says_bytes_and_reasons(self):
        text = self.tool("report", "run").stdout
        self.assertIn("2 processes", text)
        self.assertRegex(text, r"sent +3\.0 GB of 3\.2 GB \(93\.8%\) by dlaccel \(direct copies 2\.0 GB, rings 1\.0 GB\); kernel 200 MB\n")
        self.assertRegex(text, r"received +0 B of 500 B \(0\.0%\) by dlaccel; kernel 500 B\n")
        self.assertRegex(text, r"connections 3 of 5 upgraded")
        self.assertRegex(text, r"passed +9 x net\.fallback\.news\n +3 x urgent data: back to plain TCP\n")
        self.assertLess(text.index(" 12 "), text.index(" 11 "))

    def test_report_as_json(self):
        report = json.loads(self.tool("report", "--json", "run").stdout)
        self.assertEqual(report["sent"], {"ring": 10**9, "block": 2 * 10**9, "verbs": 0, "inline": 5 * 10**7, "plain": 15 * 10**7,
                                          "moved": 3 * 10**9, "all": 32 * 10**8})
        self.assertEqual([(p["pid"], p["program"], p["sent"]["moved"]) for p in report["processes"]],
                         [(12, "redis", 0), (11, "python", 3 * 10**9)])

    def test_launches_and_hooks(self):
        for pid in (21, 22):
            self.write(f"run/{pid}.stats", stats_image([
                (b"cuda.hooks", 412), (b"cuda.hooks_missing", 3), (b"cuda.launches", 1000), (b"cuda.batched", 800),
                (b"cuda.submissions", 50), (b"cuda.direct", 7), (b"cuda.step_operations", 1575), (b"cuda.step_us", 41200),
                (b"cuda.steps", 6)], pid=pid, program=b"train"))
        text = self.tool("report", "run").stdout
        self.assertRegex(text, r"launches +2000 seen, 1600 in CUDA graphs; 100 submissions; 14 calls went straight to the driver\n"
                         r" +412 of 415 hooks: this driver lacks the others\n"
                         r" +step found: 1575 operations, 41.2 ms; 12 steps since\n")

    def test_log_is_shown_and_made_harmless(self):
        self.write("run/log", b"dlaccel[11]: first\ndlaccel[11]: \x1b[2J\xff evil\n" + b"more\n" * 50)
        text = self.tool("report", "run").stdout
        self.assertIn("  dlaccel[11]: first\n  dlaccel[11]: ?[2J? evil\n", text)
        self.assertIn("and 32 more lines in run/log", text)

    def test_several_folders(self):
        shutil.copytree(self.path("run"), self.path("second"))
        one, two = self.tool("report", "run").stdout, self.tool("report", "second").stdout
        self.assertEqual(self.tool("report", "run", "second").stdout, one + "\n" + two)
        done = self.tool("report", "none", "second")
        self.assertEqual((done.returncode, done.stdout), (1, "\n" + two))
        self.assertEqual(self.tool("report", "run", "second", "--html", "page.html").returncode, 2)

    def test_nothing_there(self):
        self.assertEqual(self.tool("report", "none").returncode, 1)
        self.assertEqual(self.tool("report").returncode, 2)
        os.mkdir(self.path("empty"))
        self.assertIn("0 processes", self.tool("report", "empty").stdout)
        self.assertEqual(self.tool("stats", "empty").returncode, 1)

    def test_summary_of_a_run_counts_only_its_own(self):
        old = self.write("old.stats", stats_image([(b"net.bytes_ring", 7)]))
        new = self.write("new.stats", stats_image([(b"net.tracked", 1), (b"net.bytes_ring", 3000), (b"net.bytes_plain", 1000)],
                                                  started=2**63))
        done = self.tool("run", "-o", "run", "--", "sh", "-c", f"cp {old} $DLACCEL_DIR/1.stats; cp {new} $DLACCEL_DIR/2.stats; exit 2")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"dlaccel: rc=2 after \d+\.\d s, 1 process took part\n"
                         r"  sent +3\.0 kB of 4\.0 kB \(75\.0%\) by dlaccel \(rings 3\.0 kB\); kernel 1\.0 kB\n")
        self.assertTrue(done.stderr.endswith("dlaccel: next: dlaccel report run\n"))


class Profiles(ToolTest):
    """That the recorded figures themselves are right is the business of tests/unit/report_check.py."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("run"))
        os.mkdir(self.path("made"))
        traces = os.path.join(os.environ["DLACCEL_SOURCE"], "tests/unit/traces")
        subprocess.run([os.environ["DLACCEL_SAMPLE"], "vision-a", self.path("made"), "recorded"], check=True,
                       env={**os.environ, "DLACCEL_TRACES": traces})
        shutil.copy(self.path("made/rec"), self.path("run/7.record"))
        self.write("run/8.stats", stats_image([(b"net.bytes_ring", 5), (b"net.tracked", 1)], pid=8))

    def test_text_and_json_have_counters_and_steps(self):
        text = self.tool("report", "run").stdout
        self.assertIn("1 process took part", text)
        with open(self.path("made/text")) as alone:
            profile = alone.read()
        self.assertIn(profile, text)
        self.assertEqual(self.tool("report", "run/7.record").stdout, "\n" + profile)
        report = json.loads(self.tool("report", "--json", "run").stdout)
        self.assertEqual(report["sent"]["ring"], 5)
        with open(self.path("made/json")) as alone:
            self.assertEqual(report["profiles"], [json.load(alone)])

    def test_page_and_timeline(self):
        done = self.tool("report", "run", "--html", "page.html", "--chrome", "line.json")
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)
        for ours, theirs in (("page.html", "made/html"), ("line.json", "made/chrome")):
            with open(self.path(ours)) as one, open(self.path(theirs)) as other:
                self.assertEqual(one.read(), other.read())

    def test_several(self):
        shutil.copy(self.path("run/7.record"), self.path("run/9.record"))
        done = self.tool("report", "run", "--html", "page.html")
        self.assertEqual(done.returncode, 1)
        self.assertIn("%p", done.stderr)
        self.assertEqual(self.tool("report", "run/9.record", "--html", "page.html").returncode, 0)
        self.assertEqual(self.tool("report", "run", "--html", "page.%p.html").returncode, 0)
        self.assertEqual(len([n for n in os.listdir(self.dir) if re.fullmatch(r"page\.\d+\.html", n)]), 1)
        self.assertEqual(len(json.loads(self.tool("report", "--json", "run").stdout)["profiles"]), 2)

    def test_broken_ones_are_said_and_left_out(self):
        self.write("run/1.record", "nonsense")
        os.mkfifo(self.path("run/2.record"))
        done = self.tool("report", "--json", "run")
        self.assertEqual(len(json.loads(done.stdout)["profiles"]), 1)
        self.assertEqual(done.stderr.count("no profile of dlaccel"), 2)
        os.unlink(self.path("run/7.record"))
        self.assertEqual(self.tool("report", "run", "--html", "x").returncode, 1)


if __name__ == "__main__":
    main()
