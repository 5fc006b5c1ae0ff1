"""A verbs connection under watch: prog_verbs on two hosts, and what it has reported so far."""
import itertools
import re
import time

import hosts
import vhost

PORTS = itertools.count(8000)
QUIET = 2    # seconds in which nothing must come; what would come, comes in less than one


class Connection:
    """Driver on a, server on b, under way when the constructor returns."""

    def __init__(self, a, b, *options, mode='write'):
        port = str(next(PORTS))
        prog = hosts.program('prog_verbs')
        self.server = b.spawn([prog, 'serve', b.addr, port])
        self.server.expect('listening')
        self.driver = a.spawn([prog, 'drive', b.addr, port, '-b', a.addr, '-m', mode, *options])
        self.driver.expect('connected' if mode == 'idle' else 'flowing')

    def moved(self):
        return max([int(n) for n in re.findall(r'moved (\d+)', self.driver.out)], default=0)

    def expect_progress(self):
        before = self.moved()
        vhost.wait_until(lambda: self.moved() > before, 60, 'progress')

    def quiet(self):
        time.sleep(QUIET)
        assert not news(self.driver), news(self.driver)

    def end(self):
        for job in (self.driver, self.server):
            if job.guest.alive() and job.rc is None:
                job.kill('TERM')


def news(job):
    """[(seconds, text)] of completions, events and errors."""
    lines = [ln.split(' ', 1) for ln in job.out.splitlines()]
    return [(float(t), text) for t, text in lines if re.match('wc|cm|async|refused|error', text)]


def kinds(job):
    return [text for _, text in news(job)]


def play(scenes, a, b):
    """Runs each scene on its own connection and prints the news that it brought, with their times."""
    for scene in scenes:
        started = a.guest.uptime()
        c = scene(a, b)
        print(f'ok {scene.__name__} (since {started:.2f} s)')
        for who in ('driver', 'server'):
            for t, text in news(getattr(c, who)):
                print(f'     {t:9.3f} {who} {text}')
        c.end()
