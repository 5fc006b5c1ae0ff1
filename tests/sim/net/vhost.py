"""Virtual hosts: QEMU in software emulation runs this very system, read-only, under a kernel of
its own, so that kernel features no container has (soft-RoCE, a cable to pull) can be tested.

    with vhost.boot('name') as g:             one guest
        g.run('uname -r')                     wait for a command, raise unless it ends with 0
        job = g.spawn(['redis-server'])       or leave it running: expect(), wait(), kill()
    with vhost.pair('name') as (a, b):        two guests on one cable, 10.0.0.1 and 10.0.0.2
        b.cable(False); b.freeze(); b.reset(); b.die()

Everything of the outer system is visible inside at its own path; what is written there is gone
with the guest, except below /out. A job's files lie in the runs folder (DLACCEL_VHOST_RUNS).
One thread drives a guest. Exit code 77 and the reason, through main(), where QEMU or a kernel
package is not to be had.
"""
import argparse
import contextlib
import json
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

import image

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
HIDDEN = ('/tmp/', '/run/', '/dev/shm/')    # the guest's own tmpfs lies over these
BOOT_LIMIT = 90
TICK = 0.02

STRANGER = """exec unshare -m bash -c '
mount --bind {file} /proc/sys/kernel/random/boot_id && exec bash {inner}'
"""

Result = namedtuple('Result', 'rc out err')


class VhostError(Exception):
    pass


def need_qemu():
    qemu = shutil.which('qemu-system-x86_64')
    if not qemu:
        raise image.Unavailable('qemu-system-x86_64 is not installed')
    return qemu


def runs_dir():
    return Path(os.environ.get('DLACCEL_VHOST_RUNS') or HERE / 'runs')


def build_dir():
    return Path(os.environ.get('VHOST_BUILD') or CHECKOUT / 'build')


def tail(text, lines=30):
    return '\n'.join(text.splitlines()[-lines:])


def wait_until(cond, limit, what):
    """cond()'s first true value; VhostError after limit seconds."""
    end = time.monotonic() + limit
    while True:
        value = cond()
        if value:
            return value
        if time.monotonic() > end:
            raise VhostError(f'{what}: not within {limit} s')
        time.sleep(TICK)


class Lines:
    """A stream socket read line by line with a limit."""

    def __init__(self, path, limit):
        self.sock = socket.socket(socket.AF_UNIX)
        wait_until(lambda: self.sock.connect_ex(str(path)) == 0, limit, f'connect to {path}')
        self.buf = b''

    def send(self, line):
        self.sock.sendall(line.encode() + b'\n')

    def line(self, limit):
        end = time.monotonic() + limit
        while b'\n' not in self.buf:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise VhostError(f'no line within {limit} s')
            got = self.sock.recv(65536)
            if not got:
                raise VhostError('closed by QEMU')
            self.buf += got
        line, _, self.buf = self.buf.partition(b'\n')
        return line.decode(errors='replace')

    def close(self):
        self.sock.close()


class Monitor:
    """QEMU's machine protocol: command and answer, events passed over."""

    def __init__(self, path, limit):
        self.chan = Lines(path, limit)
        self.chan.line(limit)
        self.command('qmp_capabilities')

    def command(self, name, /, **arguments):
        self.chan.send(json.dumps({'execute': name, 'arguments': arguments}))
        while True:
            answer = json.loads(self.chan.line(30))
            if 'error' in answer:
                raise VhostError(f"{name}: {answer['error']['desc']}")
            if 'return' in answer:
                return answer['return']

    def close(self):
        self.chan.close()


class Job:
    """A command inside a guest, in a session of its own. Its rc is LOST once a reset took it."""

    LOST = -1

    def __init__(self, guest, number, what):
        self.guest, self.number, self.what = guest, number, what
        self.resets = guest.resets
        self.dir = guest.out / 'jobs' / str(number)

    def read(self, name):
        try:
            return (self.dir / name).read_text(errors='replace')
        except FileNotFoundError:
            return ''

    @property
    def out(self):
        return self.read('stdout')

    @property
    def err(self):
        return self.read('stderr')

    @property
    def rc(self):
        text = self.read('rc')
        lost = self.LOST if self.resets != self.guest.resets else None
        return int(text) if text else lost

    def describe(self, problem):
        return (f'{self.guest.name}: {problem}: {self.what}\n--- stdout\n{tail(self.out)}\n'
                f'--- stderr\n{tail(self.err)}')

    def wait(self, limit=60):
        """Result when it has ended; a job past its limit is killed and an error."""
        try:
            wait_until(lambda: self.guest.check_alive() and self.rc is not None, limit, 'job')
        except VhostError as e:
            about = self.guest.autopsy()
            with contextlib.suppress(VhostError):    # a guest that hangs does not hide why
                self.kill()
            raise VhostError(self.describe(str(e)) + about) from None
        return Result(self.rc, self.out, self.err)

    def expect(self, pattern, limit=60, stream='stdout'):
        """The first match in what it has printed so far; an error once it can no longer come."""
        rx = re.compile(pattern, re.M)

        def look():
            ended = self.rc is not None
            found = rx.search(self.read(stream))
            if not found and ended:
                raise VhostError(f'ended without {pattern!r}')
            return found
        try:
            return wait_until(look, limit, f'output {pattern!r}')
        except VhostError as e:
            raise VhostError(self.describe(str(e))) from None

    def signal(self, name):
        wait_until(lambda: self.read('pid'), 30, 'job pid')
        self.guest.control.send(f'kill {self.number} {name}')

    def kill(self, name='KILL', limit=30):
        """Signals the whole session and waits for its end."""
        if self.rc is None:
            self.signal(name)
            try:
                wait_until(lambda: self.rc is not None, limit, f'end after SIG{name}')
            except VhostError as e:
                raise VhostError(self.describe(str(e)) + self.guest.autopsy()) from None
        return Result(self.rc, self.out, self.err)


class Guest:
    """One virtual host. nics: QEMU -netdev strings without id; nic i is eth<i> with id n<i>.
    inbox: the socket at which the first one's frames arrive, where it has a cable."""

    def __init__(self, name, nics=(), mac='01', mem=1024, smp=2, binds=(), inbox=None):
        self.name, self.nics, self.mac, self.inbox = name, list(nics), mac, inbox
        self.mem, self.smp, self.binds = mem, smp, list(binds)
        self.out = runs_dir() / name
        self.jobs = self.resets = 0
        self.proc = self.control = self.monitor = self.sockets = None

    # -- life --

    def hidden_dirs(self):
        wanted = [CHECKOUT, build_dir(), runs_dir().resolve(), Path.cwd(), *map(Path, self.binds)]
        return sorted({str(p) for p in wanted if (str(p) + '/').startswith(HIDDEN)})

    def prepare(self):
        shutil.rmtree(self.out, ignore_errors=True)
        (self.out / 'jobs').mkdir(parents=True)
        self.out.chmod(0o755)
        own = self.out / 'vhost'
        own.mkdir()
        shutil.copy(HERE / 'guest/boot.sh', own / 'boot.sh')
        env = {'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin', 'HOME': '/root',
               'LC_ALL': 'C.UTF-8', 'DLACCEL_RDMA': '1', 'VHOST_NAME': self.name.replace('_', '-'),
               'VHOST_NET': str(HERE / 'guest/net.sh')}
        env_text = ''.join(f'export {k}={shlex.quote(v)}\n' for k, v in env.items())
        (own / 'env').write_text(env_text)
        (own / 'paths').write_text(f'MODULES={shlex.quote(str(self.image.modules))}\n')
        (own / 'binds').write_text(''.join(d + '\n' for d in self.hidden_dirs()))

    def argv(self):
        def share(tag, path, more=''):
            dev = f'local,id={tag},path={path},security_model=none{more}'
            return ['-fsdev', dev, '-device', f'virtio-9p-pci,fsdev={tag},mount_tag={tag}']
        argv = [need_qemu(), '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', str(self.smp),
                '-m', str(self.mem), '-nodefaults', '-no-user-config', '-no-reboot',
                '-display', 'none', '-kernel', self.image.vmlinux, '-initrd', self.image.initrd,
                '-append', 'console=ttyS0 quiet mitigations=off panic=-1 net.ifnames=0 '
                'tsc=reliable clocksource=tsc',
                '-serial', f'file:{self.out}/serial', '-device', 'virtio-rng-pci',
                '-qmp', f'unix:{self.sockets}/qmp,server=on,wait=off',
                '-chardev', f'socket,id=ctl,path={self.sockets}/ctl,server=on,wait=off',
                '-device', 'virtio-serial-pci',
                '-device', 'virtserialport,chardev=ctl,name=vhost.ctl',
                *share('host', '/', ',readonly=on,multidevs=remap'), *share('out', self.out)]
        for i, nic in enumerate(self.nics):
            kind, _, rest = nic.partition(',')
            argv += ['-netdev', f'{kind},id=n{i},{rest}', '-device',
                     f'virtio-net-pci,netdev=n{i},mac=52:54:00:00:0{i}:{self.mac},romfile=']
        return list(map(str, argv))

    def launch(self):
        """Starts QEMU and returns at once; wait_up() follows."""
        self.image = image.build()
        self.prepare()
        self.sockets = Path(tempfile.mkdtemp(prefix='vhost-'))    # a unix path has 108 bytes
        argv = ['setpriv', '--pdeathsig', 'KILL', *self.argv()]
        with open(self.out / 'qemu.log', 'w') as log:
            self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.monitor = Monitor(self.sockets / 'qmp', 30)
        self.control = Lines(self.sockets / 'ctl', 30)

    def wait_up(self, limit=BOOT_LIMIT):
        started = time.monotonic()
        while not self.control.line(limit).startswith('hello'):
            pass
        self.boot_seconds = time.monotonic() - started

    def start(self):
        """Boots; a boot that does not come up is repeated once, and said."""
        try:
            if not self.proc:
                self.launch()
            self.wait_up()
        except VhostError as e:
            print(f'vhost: {self.name}: {e}; again\n{self.why_down()}', flush=True)
            self.close()
            self.launch()
            self.wait_up()
        return self

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def check_alive(self):
        if not self.alive():
            raise VhostError(f'{self.name} is down\n{self.why_down()}')
        return True

    def why_down(self):
        logs = [self.out / n for n in ('qemu.log', 'serial', 'console.log')]
        return '\n'.join(f'--- {p}\n{tail(p.read_text(errors="replace"))}'
                         for p in logs if p.exists() and p.stat().st_size)

    def oopses(self):
        serial = self.out / 'serial'
        text = serial.read_text(errors='replace') if serial.exists() else ''
        return [ln for ln in text.splitlines() if re.search(r'BUG:|Oops|WARNING:|Call Trace', ln)]

    def close(self):
        for chan in (self.monitor, self.control):
            if chan:
                chan.close()
        if self.proc:
            self.proc.kill()
            self.proc.wait()
        if self.sockets:
            shutil.rmtree(self.sockets, ignore_errors=True)
        if self.oopses():
            print(f'vhost: {self.name}: kernel said: ' + '; '.join(self.oopses()[:4]))
        self.proc = self.control = self.monitor = self.sockets = None

    # -- commands inside --

    def spawn(self, command, env=None, preload=None, memlock=None, boot_id=None):
        """Starts a shell script, or a program given as a list; preload goes to it alone.
        boot_id: a file that the job sees in place of the guest's, for a host of its own."""
        self.check_alive()
        env = dict(env or {}, **({'LD_PRELOAD': preload} if preload else {}))
        lines = ['. /out/vhost/env', f'ulimit -l {memlock}' if memlock else ':']
        lines += [f'export {k}={shlex.quote(str(v))}' for k, v in env.items()]
        script = isinstance(command, str)
        lines.append(command if script else 'exec ' + shlex.join(map(str, command)))
        self.jobs += 1
        job = Job(self, self.jobs, command if script else shlex.join(map(str, command)))
        job.dir.mkdir()
        (job.dir / 'cmd').write_text('\n'.join([*lines, '']) if not boot_id else STRANGER.format(
            file=boot_id, inner=f'/out/jobs/{job.number}/inner'))
        (job.dir / 'inner').write_text('\n'.join([*lines, '']))
        self.control.send(f'run {job.number}')
        return job

    def run(self, command, limit=60, check=True, **kw):
        job = self.spawn(command, **kw)
        res = job.wait(limit)
        if check and res.rc:
            raise VhostError(job.describe(f'exit code {res.rc}'))
        return res

    def autopsy(self):
        """Where everything in the guest waits, for the report of a job that did not end."""
        try:
            job = self.spawn(f'bash {HERE}/guest/waits.sh')
            wait_until(lambda: self.check_alive() and job.rc is not None, 30, 'autopsy')
            return f'\n--- {self.name}: who waits where\n{job.out}'
        except VhostError as e:
            return f'\n--- {self.name}: {str(e).splitlines()[0]}'

    def net(self, function, *args, limit=60):
        """Calls a function of guest/net.sh."""
        call = shlex.join([function, *map(str, args)])
        return self.run(f'. "$VHOST_NET" && {call}', limit).out

    def wait_tcp(self, port, limit=60):
        """Until something listens there."""
        self.run(f'until ss -Hltn "sport = :{port}" | grep -q .; do sleep .05; done', limit)

    def uptime(self):
        return float(self.run('cat /proc/uptime').out.split()[0])

    # -- faults from outside --

    def cable(self, plugged, nic=0):
        self.monitor.command('set_link', name=f'n{nic}', up=plugged)

    def deaf(self, on):
        """Frames to this host vanish, and no carrier is lost at either end: a black hole."""
        if not self.inbox:
            return
        away = f'{self.inbox}.away'
        os.rename(self.inbox, away) if on else os.rename(away, self.inbox)

    # QEMU does not read for a guest that cannot receive, and so holds up the sender, which no
    # switch does: such a guest is made deaf.

    def freeze(self):
        self.deaf(True)
        self.monitor.command('stop')

    def thaw(self):
        self.monitor.command('cont')
        self.deaf(False)

    def reset(self):
        """The reset button; returns when the host is up again, its memory and jobs gone."""
        self.deaf(True)
        self.resets += 1
        self.monitor.command('set-action', reboot='reset')
        self.monitor.command('system_reset')
        self.wait_up()
        self.monitor.command('set-action', reboot='shutdown')
        self.deaf(False)

    def die(self):
        """Power off at once: nothing inside can say goodbye."""
        self.proc.kill()
        self.proc.wait()


@contextlib.contextmanager
def guests(*made):
    """Boots several at the same time and closes them all."""
    try:
        for g in made:
            with contextlib.suppress(VhostError):    # start() reports and repeats it
                g.launch()
        for g in made:
            g.start()
        yield made
    finally:
        for g in made:
            g.close()


@contextlib.contextmanager
def boot(name, **kw):
    with guests(Guest(name, **kw)) as (g,):
        yield g


@contextlib.contextmanager
def pair(name, **kw):
    """Two guests on one cable: datagrams, so that the death of one end leaves the other's."""
    with tempfile.TemporaryDirectory(prefix='cable-') as tmp:
        def end(mine, other):
            return (f'dgram,local.type=unix,local.path={tmp}/{mine},'
                    f'remote.type=unix,remote.path={tmp}/{other}')
        a = Guest(f'{name}-a', nics=[end('a', 'b')], mac='0a', inbox=f'{tmp}/a', **kw)
        b = Guest(f'{name}-b', nics=[end('b', 'a')], mac='0b', inbox=f'{tmp}/b', **kw)
        with guests(a, b) as both:
            yield both


def main(run):
    """Runs a test program's body: exit code 77 with the reason where there can be no guests."""
    sys.stdout.reconfigure(line_buffering=True)
    try:
        need_qemu()
        image.build()
        run()
    except image.Unavailable as e:
        print(f'SKIP: {e}')
        sys.exit(77)
    except VhostError as e:
        print(f'FAIL: {e}')
        sys.exit(1)


def main_preloaded(body, seeds=None, minutes=None):
    """The same for a body that is given the paths of the library and of the command as .preload and .tool, and FIRST:LAST as
    .seeds and a number as .minutes where there is a default for them."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--preload', required=True)
    parser.add_argument('--tool', required=True)
    if seeds:
        parser.add_argument('--seeds', default=seeds)
    if minutes is not None:
        parser.add_argument('--minutes', type=float, default=minutes)
    arguments = parser.parse_args()
    main(lambda: body(arguments))
