#!/usr/bin/env python3
"""dlaccel run: the program sees and shows what it would have shown without us."""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import unittest

from lib import FIXTURES, LIBRARY, TOOL, ToolTest, clean_environment, main

SECOND = os.path.join(FIXTURES, "libsecond.so")
PY = sys.executable
MAPPED = "import sys; sys.exit(0 if any('libdlaccel.so' in l for l in open('/proc/self/maps')) else 9)"


class ExitStatus(ToolTest):
    def test_status_is_the_programs(self):
        for status in (0, 1, 2, 77, 126, 255):
            self.assertEqual(self.tool("run", "--", "sh", "-c", f"exit {status}").returncode, status)

    def test_death_by_signal_is_the_same_signal(self):
        for sig in (signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGINT, signal.SIGPIPE):
            done = self.tool("run", "--", "sh", "-c", f"kill -{int(sig)} $$")
            self.assertEqual(done.returncode, -sig)
            self.assertIn(f"killed by signal {int(sig)} ", done.stderr)

    def test_a_shell_sees_128_and_the_signal(self):
        done = subprocess.run(["sh", "-c", '"$0" run -q -- sh -c "kill -SEGV \\$\\$"; echo $?', TOOL], cwd=self.dir,
                              env=clean_environment(), capture_output=True, text=True)
        self.assertEqual(done.stdout, "139\n")

    def test_what_cannot_run_ends_as_in_a_shell(self):
        plain = self.write("plain", "text", 0o644)
        self.assertEqual(self.tool("run", "--", "no-such-program-anywhere").returncode, 127)
        self.assertEqual(self.tool("run", "--", "./none").returncode, 127)
        self.assertEqual(self.tool("run", "--", plain).returncode, 126)
        self.assertEqual(self.tool("run", "--", self.dir).returncode, 126)
        self.assertEqual(self.folders(), [])

    def test_wrong_use(self):
        for args in (["run"], ["run", "--nonsense", "--", "true"], ["run", "--off", "nonsense", "--", "true"], ["run", "-o"],
                     ["nonsense"], []):
            done = self.tool(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ""), args)
            self.assertIn("usage:" if args != ["run", "--off", "nonsense", "--", "true"] else "sockets", done.stderr)

    def test_sigchld_ignored_by_whoever_started_us(self):
        old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        child = subprocess.Popen([TOOL, "run", "--", PY, "-c", """
import signal, sys
sys.exit(40 + (signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN))"""],
                                 cwd=self.dir, env=clean_environment(), stderr=subprocess.DEVNULL)
        signal.signal(signal.SIGCHLD, old)
        self.assertEqual(child.wait(), 41)


READY = """
import os, signal, sys
def handler(sig, frame):
    print("got", sig, flush=True)
    sys.exit(5)
signal.signal(int(sys.argv[1]), handler)
print("ready", flush=True)
while True:
    signal.pause()
"""


class Signals(ToolTest):
    def begin(self, *args):
        child = self.start(TOOL, "run", "-q", "--", *args)
        self.assertEqual(child.stdout.readline(), "ready\n")
        return child

    def test_a_signal_for_us_reaches_it(self):
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
            child = self.begin(PY, "-c", READY, str(int(sig)))
            child.send_signal(sig)
            self.assertEqual(child.stdout.readline(), f"got {int(sig)}\n")
            self.assertEqual(child.wait(), 5)

    def test_sigterm_without_handler_is_its_death_and_ours(self):
        child = self.begin("sh", "-c", "echo ready; exec sleep 1000")
        child.terminate()
        self.assertEqual(child.wait(), -signal.SIGTERM)

    def test_sigkill_of_us_takes_it_along(self):
        child = self.start(TOOL, "run", "-q", "--", "sh", "-c", "echo $$; exec sleep 1000")
        pid = int(child.stdout.readline())
        child.kill()
        self.until(lambda: not os.path.exists(f"/proc/{pid}") or "Z" in
                   open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1], "the program ends")

    def test_its_signals_to_its_parent_do_not_come_back(self):
        done = self.tool("run", "--", PY, "-c", """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *a: sys.exit(9))
os.kill(os.getppid(), signal.SIGUSR1)
# dlaccel handles its signals in order: when it has passed on the second, it was done with the first
import subprocess
signal.signal(signal.SIGUSR2, lambda *a: sys.exit(3))
subprocess.run(["sh", "-c", f"kill -USR2 {os.getppid()}"])
while True: signal.pause()""")
        self.assertEqual(done.returncode, 3)

    def test_ctrl_c_arrives_once(self):
        pid, tty = os.forkpty()
        if pid == 0:
            os.chdir(self.dir)
            os.execve(TOOL, [TOOL, "run", "-q", "--", PY, "-c", """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("ready", flush=True)
signal.sigwait([signal.SIGINT])
again = signal.sigtimedwait([signal.SIGINT], 0.5)
sys.exit(20 if again is None else 21)"""], clean_environment())
        said = b""
        while b"ready" not in said:
            said += os.read(tty, 1000)
        os.write(tty, b"\x03")
        status = os.waitpid(pid, 0)[1]
        os.close(tty)
        self.assertEqual(os.waitstatus_to_exitcode(status), 20)

    def test_a_signal_for_the_group_arrives_once(self):
        child = self.start(TOOL, "run", "-q", "--", PY, "-c", """
import signal, sys
signals = [signal.SIGTERM, signal.SIGINT]
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", flush=True)
while True:
    got = signal.sigwait(signals)
    again = signal.sigtimedwait(signals, 0.5)
    print(int(got), again, flush=True)""", start_new_session=True)
        self.assertEqual(child.stdout.readline(), "ready\n")
        for sig, send in ((signal.SIGTERM, os.killpg), (signal.SIGTERM, os.killpg), (signal.SIGINT, os.kill),
                          (signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)):
            send(child.pid, sig)
            self.assertEqual(child.stdout.readline(), f"{int(sig)} None\n")

    def test_a_job_that_stops_itself_is_seen_to_stop(self):
        # in a group of its own: the kernel stops no orphaned group for a terminal
        child = self.start(TOOL, "run", "-q", "--", "sh", "-c", "kill -TSTP $$; exit 7", preexec_fn=os.setpgrp)
        self.assertTrue(os.WIFSTOPPED(os.waitpid(child.pid, os.WUNTRACED)[1]))
        child.send_signal(signal.SIGCONT)
        self.assertEqual(child.wait(), 7)

    @unittest.skipUnless(os.getuid() == 0 and shutil.which("unshare"), "needs root for a pid namespace of its own")
    def test_as_the_first_process_of_a_container(self):
        # It inherits what the program leaves behind, and must not take its end for the program's.
        done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", TOOL, "run", "-q", "-o", "out", "--", "sh", "-c",
                               f"sh -c '(exit 9) & (sleep 0.1; exit 8) & exit 0'; sleep 0.3; while grep -ql 'State:.Z' /proc/[0-9]*/status; do sleep 0.05; done; exit 5"],
                              cwd=self.dir, env=clean_environment(), capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (5, ""), done.stderr)
        done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", TOOL, "run", "-q", "-o", "out", "--", "sh", "-c", "kill -9 $$"],
                              cwd=self.dir, env=clean_environment(), capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 128 + 9)

    def test_stopped_and_continued_by_others(self):
        child = self.start(TOOL, "run", "-q", "--", "sh", "-c", "echo $$; read line; exit 7")
        pid = int(child.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        self.until(lambda: open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T", "the program stops")
        os.kill(pid, signal.SIGCONT)
        child.stdin.write("\n")
        child.stdin.flush()
        self.assertEqual(child.wait(), 7)

    def test_dispositions_and_mask_are_as_given(self):
        code = """
import signal, sys
print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), *map(repr, map(signal.getsignal, (signal.SIGHUP, signal.SIGQUIT))))"""

        def prepare():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])

        bare = subprocess.run([PY, "-c", code], preexec_fn=prepare, capture_output=True, text=True)
        ours = self.tool("run", "--", PY, "-c", code, preexec_fn=prepare)
        self.assertEqual(ours.stdout, bare.stdout)
        self.assertIn("SIG_IGN", bare.stdout)


class Streams(ToolTest):
    def test_bytes_pass_untouched(self):
        data = random.Random(1).randbytes(3_000_000)
        done = self.tool("run", "--", "cat", input=data, text=False)
        self.assertEqual(done.returncode, 0)
        self.assertTrue(done.stdout == data)

    def test_quiet_is_silent(self):
        done = self.tool("run", "-q", "--", "sh", "-c", "echo out; echo err >&2", env={"DLACCEL_NONSENSE": "1"})
        self.assertEqual((done.stdout, done.stderr), ("out\n", "err\n"))

    def test_its_words_are_whole_lines(self):
        done = self.tool("run", "--", "true")
        self.assertEqual(done.stdout, "")
        lines = done.stderr.splitlines()
        self.assertRegex(lines[0], r"^dlaccel \d+\.\d+\.\d+ active: pid \d+ \S+ -> \./dlaccel\.true\.\d+/  \(off: DLACCEL=0\)$")
        for line in lines[1:]:
            self.assertRegex(line, r"^(dlaccel: |  )")

    def test_no_descriptor_is_left_open_in_it(self):
        code = "import os; print(sorted(os.listdir('/proc/self/fd')))"
        bare = subprocess.run([PY, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(self.tool("run", "--", PY, "-c", code).stdout, bare.stdout)

    def test_output_ends_when_the_program_closes_it(self):
        child = self.start(TOOL, "run", "-q", "--", "sh", "-c", "exec >&- 2>&-; read line; exit 6")
        self.assertEqual(child.stdout.read(), "")
        child.stdin.write("\n")
        child.stdin.flush()
        self.assertEqual(child.wait(), 6)

    def test_input_ends_when_the_program_closes_it(self):
        child = self.start(TOOL, "run", "-q", "--", "sh", "-c", "exec <&-; echo closed; exec sleep 1000")
        self.assertEqual(child.stdout.readline(), "closed\n")
        with self.assertRaises(BrokenPipeError):
            while True:
                os.write(child.stdin.fileno(), b"x" * 65536)

    def test_closed_streams_stay_closed_and_do_no_harm(self):
        code = "sys.exit(sum(1 << fd for fd in (0, 1, 2) if closed(fd)))"
        code = "import os, sys\nopen('dir', 'w').write(os.environ['DLACCEL_DIR'])\ndef closed(fd):\n try: os.fstat(fd)\n except OSError: return 1\n" + code
        for closed, status in (("<&-", 1), (">&- 2>&-", 6), ("<&- >&- 2>&-", 7)):
            done = subprocess.run(["sh", "-c", f'exec "$0" run -o out -- "$1" -c "$2" {closed}', TOOL, PY, code], cwd=self.dir,
                                  env=clean_environment())
            self.assertEqual(done.returncode, status, closed)
            with open(self.path("out/run.json")) as note:
                self.assertEqual(json.load(note)["exit"], status)
            with open(self.path("dir")) as named:
                self.assertEqual(named.read(), os.path.realpath(self.path("out")))


class Environment(ToolTest):
    def preload(self, *args, env=None):
        done = self.tool("run", "-q", *args, "--", "printenv", "LD_PRELOAD", env=env)
        return done.stdout.strip()

    def test_library_comes_before_an_existing_preload(self):
        self.assertEqual(self.preload(), LIBRARY)
        self.assertEqual(self.preload(env={"LD_PRELOAD": SECOND}), LIBRARY + ":" + SECOND)
        self.assertEqual(self.preload(env={"LD_PRELOAD": f"{SECOND} {LIBRARY}"}), f"{SECOND} {LIBRARY}")

    def test_the_other_library_still_works(self):
        done = self.tool("run", "-q", "--", "sh", "-c", "echo $$ $SECOND_PID", env={"LD_PRELOAD": SECOND})
        program, second = done.stdout.split()
        self.assertEqual(program, second)

    def test_library_is_in_it_and_in_what_it_starts(self):
        self.assertEqual(self.tool("run", "--", PY, "-c", MAPPED).returncode, 0)
        for method in ("fork", "spawn", "forkserver"):
            script = self.write("mp.py", f"""
import multiprocessing as mp, sys
def work(queue): queue.put(any('libdlaccel.so' in l for l in open('/proc/self/maps')))
if __name__ == "__main__":
    mp.set_start_method("{method}")
    queue = mp.Queue()
    process = mp.Process(target=work, args=(queue,)); process.start()
    there = queue.get(); process.join()
    sys.exit(0 if there else 9)""")
            self.assertEqual(self.tool("run", "--", PY, script).returncode, 0, method)

    @unittest.skipUnless(shutil.which("mpirun"), "no mpirun here")
    def test_through_mpirun(self):
        done = self.tool("run", "--", "mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2", PY, "-c",
                         MAPPED + "\n", env={"OMPI_MCA_btl": "self,vader"})
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_nested_is_one_run(self):
        done = self.tool("run", "--", TOOL, "run", "--", "sh", "-c", "echo $LD_PRELOAD; exit 4")
        self.assertEqual(done.returncode, 4)
        self.assertEqual(done.stdout.strip(), LIBRARY)
        self.assertEqual(len(self.folders()), 1)
        self.assertIn("inside another run", done.stderr)

    def test_nested_with_a_folder_of_its_own(self):
        done = self.tool("run", "--", TOOL, "run", "-o", "inner", "--", "printenv", "DLACCEL_DIR")
        self.assertEqual(done.stdout.strip(), os.path.realpath(self.path("inner")))

    def test_off_sets_the_switch(self):
        done = self.tool("run", "--off", "cma", "--off=spin-move", "--", "sh", "-c", "echo $DLACCEL_CMA$DLACCEL_SPIN_MOVE")
        self.assertEqual(done.stdout, "00\n")
        self.assertIn("DLACCEL_CMA=off (default on)", done.stderr)

    def test_all_off_is_bare(self):
        for args, env in ((["--off", "all"], {}), ([], {"DLACCEL": "0"}), ([], {"DLACCEL": "off"})):
            done = self.tool("run", *args, "--", "sh", "-c", "echo [$LD_PRELOAD$DLACCEL_DIR]; exit 8", env=env)
            self.assertEqual((done.returncode, done.stdout), (8, "[]\n"))
            self.assertIn("not accelerated: DLACCEL=0", done.stderr)
        self.assertEqual(self.folders(), [])

    def test_wrong_variables_are_said_with_the_nearest_name(self):
        done = self.tool("run", "--", "true", env={"DLACCEL_SOCKET": "1", "DLACCEL_NET_RING": "8 Quarks", "DLACCEL_SPIN": "1ms"})
        self.assertIn("unused variable DLACCEL_SOCKET (maybe: DLACCEL_SOCKETS?)", done.stderr)
        self.assertIn("invalid DLACCEL_NET_RING=8 Quarks: DLACCEL_NET_RING stays at 4M", done.stderr)
        self.assertIn("DLACCEL_SPIN=1ms (default 50us)", done.stderr)

    def test_a_space_in_the_librarys_path(self):
        moved = self.path("a folder")
        os.makedirs(moved + "/tools")
        os.makedirs(moved + "/shim")
        shutil.copy(TOOL, moved + "/tools/dlaccel")
        shutil.copy(LIBRARY, moved + "/shim/libdlaccel.so")
        done = subprocess.run([moved + "/tools/dlaccel", "run", "--", "sh", "-c", "echo [$LD_PRELOAD]; exit 3"], cwd=self.dir,
                              env=clean_environment(), capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (3, "[]\n"))
        self.assertIn("has a space or a colon", done.stderr)


class Folder(ToolTest):
    def test_default_name_has_program_and_pid(self):
        done = self.tool("run", "--", "sh", "-c", "echo $$")
        self.assertEqual(self.folders(), ["dlaccel.sh." + done.stdout.strip()])

    def test_placeholders(self):
        done = self.tool("run", "-o", "a/b %h %n 100%% %p %x", "--", "sh", "-c", "echo $$; echo $DLACCEL_DIR")
        pid, folder = done.stdout.splitlines()
        self.assertEqual(folder, os.path.realpath(self.path(f"a/b {socket.gethostname()} sh 100% {pid} %x")))
        self.assertTrue(os.path.isdir(folder))
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)

    def test_variable_names_it(self):
        done = self.tool("run", "--", "printenv", "DLACCEL_DIR", env={"DLACCEL_DIR": "mine"})
        self.assertEqual(done.stdout.strip(), os.path.realpath(self.path("mine")))

    def test_none_to_be_had(self):
        for where in ("/proc/none", self.write("file", "") + "/x", "y" * 300, "/".join(["z" * 200] * 3)):
            done = self.tool("run", "-o", where, "--", "sh", "-c", "echo [$DLACCEL_DIR] ${LD_PRELOAD##*/}; exit 3")
            self.assertEqual((done.returncode, done.stdout), (3, "[] libdlaccel.so\n"))
            self.assertIn("no counters and no log", done.stderr)
            self.assertRegex(done.stderr, r"active: pid \d+ \S+  \(off")
            self.assertNotIn("took part", done.stderr)

    def test_note_of_what_ran(self):
        words = ['quote " \\ \n', "größer 数 \N{GRINNING FACE}"]
        self.tool("run", "-o", "out", "--", "sh", "-c", "exit 3", *words)
        with open(self.path("out/run.json")) as note:
            note = json.load(note)
        self.assertEqual(note["command"], ["sh", "-c", "exit 3", *words])
        self.assertEqual((note["exit"], note["host"]), (3, socket.gethostname()))
        self.tool("run", "-o", "out", "--", "sh", "-c", "kill -9 $$")
        with open(self.path("out/run.json")) as note:
            self.assertEqual(json.load(note)["signal"], 9)
        self.assertEqual(os.listdir(self.path("out")), ["run.json"])


class Unsuitable(ToolTest):
    def test_static_program_runs_and_its_children_are_preloaded(self):
        static = os.path.join(FIXTURES, "static")
        done = self.tool("run", "--", static, "printenv", "LD_PRELOAD")
        self.assertEqual(done.stdout.strip(), LIBRARY)
        self.assertIn("statically linked", done.stderr)

    @unittest.skipUnless(os.path.exists("/lib64/ld-linux-x86-64.so.2"), "stands in for musl's loader with that of x86-64")
    def test_foreign_loader_is_not_preloaded(self):
        loader = self.path("ld-musl-x86_64.so.1")
        os.symlink(os.path.realpath("/lib64/ld-linux-x86-64.so.2"), loader)
        program = os.path.join(self.dir, "musl")
        subprocess.run([os.environ.get("CC", "cc"), "-x", "c", "-", "-o", program, f"-Wl,--dynamic-linker={loader}"], check=True,
                       input=b"#include <stdlib.h>\nint main(void){return getenv(\"LD_PRELOAD\")?9:4;}")
        done = self.tool("run", "--", program)
        self.assertEqual(done.returncode, 4)
        self.assertIn("musl", done.stderr)


@unittest.skipUnless(shutil.which("gdb"), "no gdb here")
class Gdb(ToolTest):
    def test_preload_inside_only(self):
        done = self.tool("run", "--gdb", "-o", "out", "--", "sh", "-c", "echo inside $LD_PRELOAD; exit 3",
                         input="shell echo outside [$LD_PRELOAD]\nrun\nquit\n", env={"DEBUGINFOD_URLS": ""})
        self.assertIn("inside " + LIBRARY, done.stdout)
        self.assertIn("outside []", done.stdout)
        self.assertIn("exited with code 03", done.stdout)


if __name__ == "__main__":
    main()
