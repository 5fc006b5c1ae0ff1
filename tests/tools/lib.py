"""What the tests of the tool share: where it lies, running it, and counters as stats.h lays them out,
written down here a second time so that the two can disagree."""
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

TOOL = os.environ["DLACCEL_TOOL"]
LIBRARY = os.path.realpath(os.environ["DLACCEL_LIBRARY"])
FIXTURES = os.environ.get("DLACCEL_FIXTURES", "")
PATIENCE = 60  # seconds until something that must happen counts as never; decides nothing else

MAGIC = 0x6C6563636163646C
STATS_BYTES = 16384
HEAD = "<QIIII32sQ"
SLOT = "<40sQ"


def clean_environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DLACCEL", "LD_"))}
    env.update(more)
    return env


def stats_image(counters, pid=1, program=b"prog", started=1, off=0, version=1, magic=MAGIC, count=None):
    image = struct.pack(HEAD, magic, version, len(counters) if count is None else count, pid, off,
                        program, started)
    for name, value in counters:
        image += struct.pack(SLOT, name, value)
    return image[:STATS_BYTES].ljust(STATS_BYTES, b"\0")


class ToolTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="dlaccel-test-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def tool(self, *args, env=None, stdin=subprocess.DEVNULL, text=True, **more):
        return subprocess.run([TOOL, *args], cwd=self.dir, env=clean_environment(**(env or {})),
                              stdin=stdin if "input" not in more else None, capture_output=True, text=text,
                              timeout=PATIENCE, **more)

    def start(self, *args, env=None, **more):
        child = subprocess.Popen(args, cwd=self.dir, env=clean_environment(**(env or {})), text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        self.addCleanup(self.end, child)
        return child

    @staticmethod
    def end(child):
        if child.poll() is None:
            child.kill()
        child.wait(PATIENCE)
        for stream in (child.stdin, child.stdout, child.stderr):
            stream.close()

    def folders(self):
        return sorted(name for name in os.listdir(self.dir) if name.startswith("dlaccel."))

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, data, mode=0o644):
        with open(self.path(name), "wb") as out:
            out.write(data if isinstance(data, bytes) else data.encode())
        os.chmod(self.path(name), mode)
        return self.path(name)

    def until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end, "never: " + what)
            time.sleep(0.01)


def main():
    unittest.main(verbosity=1, argv=[sys.argv[0]])
