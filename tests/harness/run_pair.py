#!/usr/bin/env python3
"""Runs a test program bare and preloaded and compares what it printed.

    run_pair.py [options] -- program [args]

The program is started as `program client args` and `program server args` (or once, as
`program solo args`), once without the library and then with it at both ends, at the server only
and at the client only. Every run is one in which a leftover is a failure: a process, a descriptor
(the program's own check), a file in its directory, an entry in /dev/shm, an abstract unix socket.

Without --lib the bare run is made twice, which shows that the test itself is steady.
Exit status: 0 equal, 1 not, 77 cannot run here (the program said so).
"""
import argparse
import fnmatch
import ctypes
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from test_settings import EVERY_PATH

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SKIP = 77
# Which path bytes take depends on who is faster: a run in which none took the expected one is repeated.
TRIES = 3
# With the library at one end only nothing is exchanged with the other one.
ONE_END = ["net.upgraded==0", "net.bytes_ring|net.bytes_block|net.bytes_verbs|net.bytes_inline==0"]
STATS_MAGIC, STATS_HEAD = 0x6c6563636163646c, 64
libc = ctypes.CDLL(None, use_errno=True)


def isolate():
    """A network and a /dev/shm of our own, so that what is left over is ours. Needs root."""
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET):
        return False
    libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
    libc.mount(b"none", b"/dev/shm", b"tmpfs", 0, None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        ifreq = struct.pack("16sH14x", b"lo", 0x1 | 0x40)
        fcntl.ioctl(s, 0x8914, ifreq)  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
    # ::1 is usable only after duplicate address detection is off or done.
    return True


def abstract_sockets():
    with open("/proc/net/unix") as f:
        return {line.split()[-1] for line in f if "@" in line and "dlaccel" in line}


def leftovers(directory):
    left = sorted(os.listdir("/dev/shm")) + sorted(os.listdir(directory))
    return left + sorted(abstract_sockets())


def session_members(sessions):
    members = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) in sessions and fields[0] != "Z":
            members.append(int(pid))
    return members


def kill_sessions(sessions):
    for pid in session_members(sessions):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


def read_counters(path):
    """What is not 0 in one process's file; the layout is in shim/base/stats.h."""
    with open(path, "rb") as f:
        data = f.read()
    if len(data) < STATS_HEAD:  # no room for the file: the test's own limits
        return {}
    magic, _, count = struct.unpack_from("<QII", data)
    if magic != STATS_MAGIC:
        raise ValueError(f"{path}: not a file of counters")
    rows = (struct.unpack_from("<40sQ", data, STATS_HEAD + i * 48) for i in range(count))
    return {key.rstrip(b"\0").decode(): value for key, value in rows if value}


def stats_files(directory):
    return [os.path.join(directory, name) for name in sorted(os.listdir(directory)) if name.endswith(".stats")]


def read_stats(directory):
    """The sum over all processes of one end or both."""
    total = {}
    for path in stats_files(directory):
        for key, value in read_counters(path).items():
            total[key] = total.get(key, 0) + value
    return total


def fallback_lines():
    """{counter: the line that goes with it}"""
    base = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "shim", "base", "fallback.def")
    with open(base) as f:
        return dict(re.findall(r'^FALLBACK\(\w+, "([^"]+)", "([^"]+)"\)', f.read(), re.M))


def read_log(directory):
    try:
        with open(os.path.join(directory, "log"), errors="replace") as f:
            return f.read().splitlines()
    except FileNotFoundError:
        return []


def traces(directory):
    """What the library has left in DLACCEL_DIR: counters, a log."""
    return sorted(name for name in os.listdir(directory) if not name.endswith((".out", ".err")))


def lines_of(reason, log):
    return [line for line in log if line.endswith(": " + fallback_lines()[reason])]


def wrong_lines(directory):
    """A process says each reason for a fallback once, however often it counts it (vfork's child says the parent's)."""
    log = read_log(directory)
    yield from (f"said twice: {line}" for line in set(log) if log.count(line) > 1)
    counted = [key for path in stats_files(directory) for key in read_counters(path) if key in fallback_lines()]
    for key in set(counted):
        if len(lines_of(key, log)) < counted.count(key):
            yield f"{counted.count(key)} processes counted {key}, and said: {lines_of(key, log)}"


class Run:
    """One start of all the roles, with the library in those named by `preloaded`."""

    def __init__(self, args, preloaded):
        self.args, self.preloaded = args, preloaded
        self.out, self.err, self.code, self.problems = {}, {}, {}, []
        self.stats = {}

    def environment(self, role, cwd, stats_dir):
        env = dict(os.environ, PYTHONUNBUFFERED="1")
        env.pop("LD_PRELOAD", None)
        for item in self.args.env:
            key, _, value = item.partition("=")
            env[key] = value
        preload = list(filter(None, [self.args.beside]))
        if role in self.preloaded:
            preload.insert(0, self.args.client_lib if role == "client" else self.args.lib)
            env = {**EVERY_PATH, **env, "DLACCEL_DIR": stats_dir}
        if preload:
            env["LD_PRELOAD"] = ":".join(preload)
        return env

    def start(self, role, cwd, stats_dir, link):
        env = self.environment(role, cwd, stats_dir)
        if link is not None:
            env["PAIR_LINK"] = str(link)
        out, err = (open(os.path.join(stats_dir, f"{role}.{n}"), "w+") for n in ("out", "err"))
        argv = [self.args.program[0]] + self.args.interpreted + [role] + self.args.program[1:]
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd,
                                 env=env, start_new_session=True,
                                 pass_fds=[] if link is None else [link])
        return child, out, err

    def wait(self, children, deadline):
        for role, (child, _, _) in children.items():
            try:
                self.code[role] = child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.code[role] = None
                self.problems.append(f"{role} hangs: {where(child.pid)}")

    def collect(self, children):
        for role, (_, out, err) in children.items():
            for f, into in ((out, self.out), (err, self.err)):
                f.seek(0)
                into[role] = f.read()
                f.close()

    def go(self):
        roles = ["solo"] if self.args.solo else ["server", "client"]
        with tempfile.TemporaryDirectory() as top:
            cwd, stats_dir = os.path.join(top, "cwd"), os.path.join(top, "stats")
            os.mkdir(cwd)
            os.mkdir(stats_dir)
            ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) if len(roles) == 2 \
                else (None,)
            children = {}
            for role, end in zip(roles, ends):
                link = end.fileno() if end else None
                children[role] = self.start(role, cwd, stats_dir, link)
            for end in filter(None, ends):
                end.close()
            self.wait(children, time.monotonic() + self.args.timeout)
            sessions = {child.pid for child, _, _ in children.values()}
            if self.problems:
                kill_sessions(sessions)
                for child, _, _ in children.values():
                    child.wait()
            elif orphans(sessions):
                self.problems.append("processes are left")
                kill_sessions(sessions)
            self.collect(children)
            left = leftovers(cwd)
            if left:
                self.problems.append(f"left over: {left}")
            self.stats = read_stats(stats_dir)
            self.log = read_log(stats_dir)
            if self.args.inert and traces(stats_dir):
                self.problems.append(f"not inert: {traces(stats_dir)}")
            self.problems += wrong_lines(stats_dir)
        return self


def orphans(sessions):
    """A child of the test may need a moment to end after its parent."""
    for _ in range(100):
        if not session_members(sessions):
            return False
        time.sleep(0.05)
    return True


def where(session):
    """What the threads of a session are doing, for the message about a hang: system calls with their arguments."""
    text = []
    for pid in session_members({session}):
        try:
            for task in sorted(os.listdir(f"/proc/{pid}/task")):
                with open(f"/proc/{pid}/task/{task}/comm") as comm, open(f"/proc/{pid}/task/{task}/syscall") as call:
                    text.append(f"{comm.read().strip()} {pid}/{task}: {call.read().strip()}")
        except OSError:
            pass  # it has just ended
    with open("/proc/net/tcp") as f:
        text += [line.strip() for line in f]
    return "\n  ".join(text)


def diff(role, bare, other):
    a, b = bare.splitlines(), other.splitlines()
    for i in range(max(len(a), len(b))):
        x, y = (t[i] if i < len(t) else "(end)" for t in (a, b))
        if x != y:
            context = "".join(f"      {line}\n" for line in a[max(0, i - 5):i])
            return f"{role}, line {i + 1}:\n{context}  bare     {x}\n  preload  {y}"
    return None


def compare(name, bare, run):
    problems = list(run.problems)
    for role in bare.out:
        if bare.code[role] != run.code[role]:
            problems.append(f"{role} ended with {run.code[role]}, bare {bare.code[role]}")
        difference = diff(role, bare.out[role], run.out[role])
        if difference:
            problems.append(difference)
        if run.err[role] != bare.err[role] and (problems or not run.args.stderr):
            problems.append(f"{role}, stderr: {run.err[role][-2000:]}")
    for problem in problems:
        print(f"[{name}] {problem}")
    return problems


def check_said(name, reasons, log):
    """For a process that had no room for its counters."""
    unsaid = [reason for reason in reasons if not lines_of(reason, log)]
    for reason in unsaid:
        print(f"[{name}] nobody said {reason}; log: {log}")
    return unsaid


def check_expectations(name, expects, stats):
    """Each is `counter>=n`, `counter==n` or `counter<=n`; a prefix with `*` sums, and so does `a|b`."""
    problems = []
    for text in expects:
        m = re.fullmatch(r"([\w.*|-]+)(>=|==|<=)(\d+)", text)
        have = sum(v for k, v in stats.items() if any(fnmatch.fnmatchcase(k, p) for p in m[1].split("|")))
        want = int(m[3])
        if not {">=": have >= want, "==": have == want, "<=": have <= want}[m[2]]:
            problems.append(text)
            print(f"[{name}] expected {text}, have {have}; counters: {stats}")
    return problems


def variants(args):
    roles = {"both": {"client", "server", "solo"}, "server": {"server"}, "client": {"client"}}
    if not args.lib:
        return [("bare again", set())]
    names = ["both"] if args.solo else args.variants.split(",")
    return [(n, roles[n]) for n in names]


def parse():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--lib", help="libdlaccel.so")
    p.add_argument("--client-lib", help="another one for the client")
    p.add_argument("--beside", help="another library preloaded in all runs, after ours")
    p.add_argument("--variants", default="both,server,client")
    p.add_argument("--solo", action="store_true", help="both ends are one process")
    p.add_argument("--timeout", type=float, default=60, help="seconds for one run")
    p.add_argument("--expect", action="append", default=[], help="counter in the run with both")
    p.add_argument("--said", action="append", default=[], help="fallback whose line must be in the log of the run with both")
    p.add_argument("--inert", action="store_true", help="the library is to leave no trace")
    p.add_argument("--env", action="append", default=[])
    p.add_argument("--stderr", action="store_true", help="stderr may differ")
    p.add_argument("--show", action="store_true", help="print output and counters")
    p.add_argument("program", nargs=argparse.REMAINDER)
    args = p.parse_args()
    args.program = [a for a in args.program if a != "--"] if args.program[:1] == ["--"] \
        else args.program
    args.interpreted = []
    if args.program[0].endswith(".py"):
        args.interpreted = [os.path.abspath(args.program[0])]
        args.program[0] = sys.executable
    else:
        args.program[0] = os.path.abspath(args.program[0])
    # The programs run in a folder of their own.
    args.program = [os.path.abspath(a) if os.path.exists(a) else a for a in args.program]
    if args.lib:
        args.lib = os.path.abspath(args.lib)
    args.client_lib = os.path.abspath(args.client_lib) if args.client_lib else args.lib
    return args


def loads(library):
    """The loader only prints a line about a library that it cannot find."""
    true = subprocess.run(["/bin/true"], env={"LD_PRELOAD": library}, stderr=subprocess.PIPE,
                          check=False)
    return not true.stderr


def run_variant(args, name, preloaded, bare):
    """What is wrong with it."""
    for _ in range(TRIES):
        run = Run(args, preloaded).go()
        problems = compare(name, bare, run)
        if args.show:
            print(f"[{name}] counters: {run.stats}\n[{name}] log: {run.log}")
        if name != "both":
            return problems + check_expectations(name, ONE_END, run.stats)
        unmet = check_expectations(name, args.expect, run.stats) + check_said(name, args.said, run.log)
        if problems or not unmet:
            break
    return problems + unmet


def main():
    args = parse()
    if args.beside and not loads(args.beside):
        print(f"{args.beside} is not installed")
        return SKIP
    if not isolate():
        print("no namespaces of our own here: leftovers of others may show", file=sys.stderr)
    bare = Run(args, set()).go()
    if SKIP in bare.code.values():
        print("".join(bare.out.values()))
        return SKIP
    failures = list(bare.problems)
    for problem in failures:
        print(f"[bare] {problem}")
    # A test whose bare run already complains is wrong, whatever the others do.
    for role, text in bare.out.items():
        if "FAILED" in text or args.show:
            print(f"[bare {role}] {text}{bare.err[role]}")
        if "FAILED" in text or bare.code[role] not in (0, -signal.SIGKILL):
            print(f"[bare] {role} ended with {bare.code[role]}")
            failures.append("bare")
    for name, preloaded in variants(args):
        failures += run_variant(args, name, preloaded, bare)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
