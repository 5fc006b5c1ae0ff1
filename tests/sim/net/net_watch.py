"""Strikes, and tells how long each of some processes takes to say that its RDMA connection has failed.

    net_watch.py COMMAND LIMIT FILE.stats...

COMMAND says a line when it has struck. Prints one for each file: seconds since then, by this host's clock; those of
them in which this loop, which sleeps and looks, got no further, the host itself standing still; the counter. Over when
all have said so, or after LIMIT seconds.
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'harness'))
from run_pair import read_counters  # noqa: E402

NAP, TURN = .02, .06    # a turn that takes longer than that was held up
NEWS = 'rdma.fallback.failed', 'rdma.fallback.silent', 'rdma.fallback.port'


class Process:
    def __init__(self, path):
        self.path, self.before = path, read_counters(path)

    def news(self):
        now = read_counters(self.path)
        return [name for name in NEWS if now.get(name, 0) > self.before.get(name, 0)]


def main():
    command, limit = sys.argv[1], float(sys.argv[2])
    waiting, lost = [Process(path) for path in sys.argv[3:]], 0
    with subprocess.Popen(['bash', '-c', command], stdout=subprocess.PIPE) as strike:
        strike.stdout.readline()
        began = time.monotonic()
        now = began
        while waiting and now - began < limit:
            time.sleep(NAP)
            news = [(process, process.news()) for process in waiting]
            before, now = now, time.monotonic()
            lost += max(0, now - before - TURN)
            for process, names in news:
                if names:
                    waiting.remove(process)
                    print(process.path, round(now - began, 3), round(lost, 3), *names)


main()
