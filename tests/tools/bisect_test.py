#!/usr/bin/env python3
"""dlaccel bisect: finds what a fault needs, and does not find what is not there."""
import os
import re
import sys

from lib import ToolTest, main

# Fails unless one of these variables is off: what a fault in that feature looks like from outside.
NEEDS = 'for v in %s; do eval "[ \\"\\$$v\\" = 0 ] && exit 0"; done; %s'


class Bisect(ToolTest):
    def bisect(self, *args):
        return self.tool("bisect", "-o", "out", *args)

    def fault(self, variables, end="exit 3", *options):
        done = self.bisect(*options, "--", "sh", "-c", NEEDS % (variables, end))
        return done, (re.findall(r"goes away with (.*?) \(", done.stdout) or [None])[0]

    def test_a_whole(self):
        done, found = self.fault("DLACCEL DLACCEL_SOCKETS")
        self.assertEqual((done.returncode, found), (0, "DLACCEL_SOCKETS=0"), done.stdout)

    def test_a_part(self):
        self.assertEqual(self.fault("DLACCEL DLACCEL_SOCKETS DLACCEL_SHM DLACCEL_CMA")[1], "DLACCEL_CMA=0")
        self.assertEqual(self.fault("DLACCEL DLACCEL_SOCKETS DLACCEL_SPIN")[1], "DLACCEL_SPIN=0")
        self.assertEqual(self.fault("DLACCEL DLACCEL_SOCKETS DLACCEL_SPIN DLACCEL_SPIN_MOVE")[1], "DLACCEL_SPIN_MOVE=0")
        self.assertEqual(self.fault("DLACCEL DLACCEL_PROFILE")[1], "DLACCEL_PROFILE=0")

    def test_two_together(self):
        script = '[ "$DLACCEL" = 0 ] || { [ "$DLACCEL_CUDA" = 0 ] && [ "$DLACCEL_PROFILE" = 0 ]; }'
        done = self.bisect("--", "sh", "-c", script)
        self.assertIn("goes away with DLACCEL_CUDA=0 DLACCEL_PROFILE=0 (", done.stdout)

    def test_by_signal_and_by_hanging(self):
        self.assertEqual(self.fault("DLACCEL DLACCEL_CUDA", "kill -SEGV $$")[1], "DLACCEL_CUDA=0")
        done, found = self.fault("DLACCEL DLACCEL_CUDA", "sleep 1000", "--timeout", "2")
        self.assertEqual(found, "DLACCEL_CUDA=0")
        self.assertIn("hangs", done.stdout)

    def test_by_wrong_output(self):
        done, found = self.fault("DLACCEL DLACCEL_CUDA", "echo wrong", "--check", "! grep -q wrong")
        self.assertEqual(found, "DLACCEL_CUDA=0")
        with open(self.path("out/1.out")) as output:
            self.assertEqual(output.read(), "wrong\n")

    def test_now_and_then(self):
        count = self.path("count")
        done, found = self.fault("DLACCEL DLACCEL_CUDA", f"echo >> {count}; [ $(($(wc -l < {count}) % 3)) != 0 ]",
                                 "--repeat", "3")
        self.assertEqual(found, "DLACCEL_CUDA=0", done.stdout)

    def test_not_ours(self):
        done = self.bisect("--", "false")
        self.assertEqual(done.returncode, 1)
        self.assertIn("without dlaccel too", done.stdout)
        done = self.bisect("--", "true")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no fault with everything on", done.stdout)
        done, found = self.fault("DLACCEL")
        self.assertIn("presence", done.stdout)
        self.assertEqual(self.bisect("--", "no-such-program").returncode, 127)

    def test_program_really_runs_with_the_library(self):
        self.bisect("--", "sh", "-c", 'grep -c "r-xp.*libdlaccel.so" /proc/$$/maps; exit 1')
        with open(self.path("out/1.out")) as with_it, open(self.path("out/2.out")) as without:
            self.assertEqual((with_it.read(), without.read()), ("1\n", "0\n"))


if __name__ == "__main__":
    main()
