#!/usr/bin/env python3
"""dlaccel doctor: each obstacle is found where it is, and only there."""
import json
import os
import shutil
import struct
import subprocess
import sys
import unittest

from lib import FIXTURES, LIBRARY, TOOL, ToolTest, clean_environment, main

TRUE = os.path.realpath(shutil.which("true"))


class Doctor(ToolTest):
    def ask(self, *args, **env):
        done = self.tool("doctor", "--json", *args, env=env)
        answers = {a["check"]: a for a in json.loads(done.stdout)}
        self.assertEqual(done.returncode, any(a["verdict"] == "no" for a in answers.values()))
        return answers

    def obstacle(self, check, *args, **env):
        answers = self.ask(*args, **env)
        self.assertEqual(answers[check]["verdict"], "no", answers[check])
        return answers[check]["text"]

    def patched(self, name, change):
        with open(TRUE, "rb") as program:
            data = bytearray(program.read())
        change(data)
        return self.write(name, bytes(data), 0o755)

    def test_an_ordinary_program(self):
        answers = self.ask(TRUE)
        for check in ("library", "program", "linking", "loading", "libc", "counting"):
            self.assertEqual(answers[check]["verdict"], "ok", answers[check])
        self.assertEqual(answers["library"]["text"], LIBRARY)
        done = self.tool("doctor", TRUE)
        self.assertEqual(done.returncode, 0)
        self.assertTrue(done.stdout.endswith(f"{TRUE} would be accelerated: dlaccel run -- {TRUE}\n"))

    def test_machine_alone(self):
        answers = self.ask()
        self.assertNotIn("program", answers)
        self.assertIn("memory", answers)

    def test_static(self):
        self.assertIn("statically linked", self.obstacle("linking", os.path.join(FIXTURES, "static")))

    def test_32_bit(self):
        def change(data):
            data[4] = 1
        self.assertIn("32-bit", self.obstacle("linking", self.patched("p", change)))

    def test_other_processor(self):
        def change(data):
            data[18:20] = struct.pack("<H", 21)
        self.assertIn("processor", self.obstacle("linking", self.patched("p", change)))

    @unittest.skipUnless(os.uname().machine == "x86_64", "patches the name of the loader of x86-64")
    def test_musl(self):
        def change(data):
            at = data.index(b"/lib64/ld-linux-x86-64.so.2\0")
            data[at:at + 28] = b"/lib/ld-musl-x86_64.so.1".ljust(28, b"\0")
        self.assertIn("musl", self.obstacle("linking", self.patched("p", change)))

    @unittest.skipUnless(os.getuid() == 0, "needs root to give a file away")
    def test_setuid_and_setgid(self):
        for mode in (0o4755, 0o2755):
            program = shutil.copy(TRUE, self.path("p"))
            os.chown(program, 1234, 1234)
            os.chmod(program, mode)
            self.assertIn("set-user-id", self.obstacle("linking", program))
            os.chown(program, os.getuid(), os.getgid())
            os.chmod(program, mode)
            self.assertEqual(self.ask(program)["linking"]["verdict"], "ok")

    def test_scripts_are_followed(self):
        os.mkdir(self.path("bin"))
        interpreter = shutil.copy(TRUE, self.path("bin/inter"))
        path = self.path("bin") + ":" + os.environ["PATH"]
        for line in (f"#!{interpreter}", f"#! {interpreter} -x", "#!/usr/bin/env inter", "#!/usr/bin/env -S A=1 inter -x"):
            script = self.write("script", line + "\n", 0o755)
            self.assertEqual(self.ask(script, PATH=path)["program"]["text"], f"{script}, run by {interpreter}", line)
        second = self.write("second", f"#!{script}\n", 0o755)
        self.assertEqual(self.ask(second, PATH=path)["program"]["text"], f"{second}, run by {script}, run by {interpreter}")
        static = self.write("third", "#!" + os.path.join(FIXTURES, "static") + "\n", 0o755)
        self.assertIn("statically", self.obstacle("linking", static))
        plain = self.write("plain", "exit 0\n", 0o755)
        self.assertIn("run by /bin/sh", self.ask(plain)["program"]["text"])

    def test_script_whose_interpreter_is_not_there(self):
        for line in ("#!/no/such/interpreter -x\n", f"#!{self.write('inter', 'text', 0o644)}\n"):
            script = self.write("script", line, 0o755)
            text = self.obstacle("program", script)
            self.assertRegex(text, rf"^{script}, run by {line[2:].split()[0]}: (No such file|Permission denied)")
            self.assertIn(line[2:].split()[0], self.tool("run", "--", script).stderr)
            self.assertEqual(self.tool("run", "--", script).returncode, subprocess.run(
                [sys.executable, "-c", "import os,sys\ntry: os.execv(sys.argv[1], sys.argv[1:])\n"
                 "except OSError as e: sys.exit(127 if e.errno == 2 else 126)", script]).returncode)
        self.assertEqual(self.folders(), [])

    def test_programs_that_are_not_named(self):
        script = self.write("script", f"#!{TRUE}\n", 0o755)
        self.assertIn("does not name true", self.obstacle("apps", script, DLACCEL_APPS="nginx,script"))
        self.assertEqual(self.ask(script, DLACCEL_APPS="nginx,true")["apps"]["verdict"], "ok")
        done = self.tool("run", "--", script, env={"DLACCEL_APPS": "nginx"})
        self.assertIn("script itself cannot be accelerated, only what it starts: DLACCEL_APPS does not name it", done.stderr)
        self.assertNotIn("itself", self.tool("run", "--", script, env={"DLACCEL_APPS": "true"}).stderr)

    def test_names_with_other_letters(self):
        script = self.write("prögräm\x85\u202f", f"#!{TRUE}\n", 0o755)
        self.assertIn("prögräm??", self.tool("doctor", script).stdout)

    def test_script_without_end(self):
        loop = self.path("loop")
        self.write("loop", f"#!{loop}\n", 0o755)
        self.assertEqual(self.ask(loop)["linking"]["verdict"], "note")

    def test_not_found(self):
        self.assertIn("No such file", self.obstacle("program", "no-such-program"))

    def test_switched_off(self):
        self.assertIn("DLACCEL=0", self.obstacle("switch", DLACCEL="0"))

    def test_wrong_settings_and_other_preloads_are_noted(self):
        second = os.path.join(FIXTURES, "libsecond.so")
        answers = self.ask(DLACCEL_NONSENSE="1", LD_PRELOAD=second)
        self.assertEqual(answers["settings"]["verdict"], "note")
        self.assertEqual(answers["preloads"]["verdict"], "note")
        self.assertIn(second, answers["preloads"]["text"])

    def test_library_that_the_loader_refuses(self):
        for folder in ("tools", "shim"):
            os.mkdir(self.path(folder))
        tool = shutil.copy(TOOL, self.path("tools/dlaccel"))
        self.write("shim/libdlaccel.so", "not a library")
        done = subprocess.run([tool, "doctor", TRUE], env=clean_environment(), capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"NO +loading +the loader does not take the library: .*libdlaccel\.so")

    @unittest.skipUnless(os.getuid() == 0, "needs root to give a file away")
    def test_a_strangers_loader_is_not_run(self):
        loader = self.path("ld-linux-x86-64.so.2")
        code = '#include <fcntl.h>\nint main(void){return open("%s", O_CREAT, 0600) < 0;}' % self.path("was-run")
        subprocess.run(["cc", "-static", "-x", "c", "-", "-o", loader], check=True, input=code.encode())
        program = self.path("p")
        subprocess.run(["cc", "-x", "c", "-", "-o", program, f"-Wl,--dynamic-linker={loader}"], check=True,
                       input=b"int main(void){return 0;}")
        self.ask(program)
        self.assertTrue(os.path.exists(self.path("was-run")))
        os.unlink(self.path("was-run"))
        os.chown(loader, 1234, 1234)
        self.assertEqual(self.ask(program)["loading"]["verdict"], "note")
        self.assertFalse(os.path.exists(self.path("was-run")))

    def test_sanitized_program(self):
        program = self.path("asan")
        built = subprocess.run(["gcc", "-fsanitize=address", "-x", "c", "-", "-o", program], input=b"int main(void){return 0;}",
                               capture_output=True)
        if built.returncode:
            self.skipTest("no AddressSanitizer here")
        self.assertEqual(self.ask(program, ASAN_OPTIONS="")["sanitizer"]["verdict"], "note")
        for options in ({}, {"ASAN_OPTIONS": "detect_leaks=0"}):
            done = self.tool("run", "--", program, env=options)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.ask(program, ASAN_OPTIONS="verify_asan_link_order=0")["sanitizer"]["verdict"], "ok")

    def test_go(self):
        source = self.write("note.s", '.section .note.go.buildid,"a",@note\n.long 4,4,4\n.ascii "Go\\0\\0"\n.long 0\n'
                                      '.section .note.GNU-stack,"",@progbits\n')
        program = self.path("go")
        subprocess.run(["cc", "-x", "c", "-", "-x", "assembler", source, "-o", program, "-Wl,--build-id=none"],
                       input=b"int main(void){return 0;}", check=True)
        self.assertIn("Go", self.obstacle("linking", program))


class Refused(ToolTest):
    """What a sandbox forbids is found by trying: system calls that fail are made to fail for real."""

    def under_filter(self, *names):
        script = self.write("filtered.py", f"""
import ctypes, os, struct, sys
numbers = {{"memfd_create": 319, "process_vm_readv": 310, "pidfd_open": 434}}
code = b""
def op(code, jt, jf, k): return struct.pack("<HBBI", code, jt, jf, k)
program = op(0x20, 0, 0, 0)
for name in sys.argv[1].split(","):
    program += op(0x15, 0, 1, numbers[name]) + op(0x06, 0, 0, 0x00050001)
program += op(0x06, 0, 0, 0x7fff0000)
buffer = ctypes.create_string_buffer(program)
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
fprog = Fprog(len(program) // 8, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(fprog), 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
""")
        done = subprocess.run([sys.executable, script, ",".join(names), TOOL, "doctor", "--json"], env=clean_environment(),
                              capture_output=True, text=True)
        self.assertNotIn("Traceback", done.stderr)
        return {a["check"]: a["verdict"] for a in json.loads(done.stdout)}

    @unittest.skipUnless(os.uname().machine == "x86_64", "numbers of system calls are those of x86-64")
    def test_by_seccomp(self):
        self.assertEqual(self.under_filter("memfd_create")["memory"], "no")
        verdicts = self.under_filter("process_vm_readv", "pidfd_open")
        self.assertEqual((verdicts["copies"], verdicts["pidfd"], verdicts["memory"], verdicts["seccomp"]),
                         ("note", "note", "ok", "note"))


def can_unshare():
    return not subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode


@unittest.skipUnless(shutil.which("unshare") and can_unshare(), "namespaces of our own need root and unshare")
class Surroundings(ToolTest):
    """Namespaces, limits and ptrace scope are changed for real around the tool, and named then and only then."""

    def answers(self, before, *options, **env):
        done = subprocess.run(["unshare", *options, "sh", "-c", f'{before}; exec "$0" doctor --json', TOOL],
                              env={**clean_environment(), **env}, capture_output=True, text=True, check=False)
        return {a["check"]: a for a in json.loads(done.stdout)}

    def test_namespaces(self):
        own = self.answers("true", "--net", "--ipc")["spaces"]
        self.assertEqual(own["verdict"], "note")
        net = "net, " if os.access("/proc/1/ns/net", os.R_OK) else ""
        self.assertIn(f" own namespaces {net}ipc:", own["text"])
        self.assertNotRegex(self.answers("true", "--mount")["spaces"]["text"], r"\b(net|ipc)\b")

    def test_containers(self):
        named = self.answers("true", "--mount", container="nspawned")["spaces"]
        self.assertEqual(named["verdict"], "note")
        self.assertIn("container nspawned", named["text"])
        marked = "mount -t tmpfs none /run && : > /run/.containerenv"
        if not os.path.exists("/.dockerenv"):
            self.assertIn("container podman", self.answers(marked, "--mount")["spaces"]["text"])

    def test_ptrace_scope(self):
        scope = "mount -t tmpfs none /proc/sys/kernel && mkdir /proc/sys/kernel/yama && echo {} > /proc/sys/kernel/yama/ptrace_scope"
        strict = self.answers(scope.format(2), "--mount")["ptrace"]
        self.assertEqual(strict["verdict"], "note")
        self.assertIn("ptrace_scope 2", strict["text"])
        open_to_all = self.answers(scope.format(0), "--mount")["ptrace"]
        self.assertEqual((open_to_all["verdict"], open_to_all["text"]), ("ok", "ptrace_scope 0"))
        self.assertEqual(self.answers("mount -t tmpfs none /proc/sys/kernel", "--mount")["ptrace"]["text"], "no Yama in this kernel")

    def test_limits(self):
        few = self.answers("ulimit -n 60", "--mount")["limits"]
        self.assertEqual(few["verdict"], "note", few)
        self.assertIn("60", few["text"])
        self.assertEqual(self.answers("ulimit -n 4096", "--mount")["limits"]["verdict"], "ok")


if __name__ == "__main__":
    main()
