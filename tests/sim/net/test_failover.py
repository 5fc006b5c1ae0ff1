"""Faults under streams that use RDMA: each stream ends with the bytes, or the error, of a bare one; one that goes on
for long enough returns to RDMA.

    test_failover.py --preload LIBRARY --tool DLACCEL [--seeds FIRST:LAST]

One pair of programs makes a connection for each seed, in a style and with a fault that the seed chooses, which
comes after so many packets of RDMA, by the device's own counter. A pair whose server was killed is replaced. A kind of fault that none
of its seeds felt gets further ones: each has to be felt.

A server that is killed at any moment leaves its client with one of the ends that TCP has for that. One that is killed while it stands
still, behind so many bytes that it has had and sent, leaves it with the end that a bare pair comes to which is killed there.
A guest that is reset takes both ends of such a pair with it: test_lost_host.py.
"""
import collections
import random
import re
import shlex
import sys

import faults
import hosts
import streams
import vhost
from test_programs import ECHO
from test_rdma import counters, counters_script, parse_counters

COUNTERS = '/tmp/counters'
SIZE = 3000000
STYLES = ('large', 'epoll_edge', 'both_ways', 'two_threads', 'dontwait')
ROUNDS = '500'    # of an echo with pauses: half a minute at least
MORE = 6    # further seeds of a kind that was not felt, which a stop is by two of three
WARM = 40    # connections until RDMA is there: opening rdma-core takes seconds in emulation

# Shell scripts of the guest, so that a fault comes at once when its moment is there. $pid: the server's.
FAULTS = {
    'black hole': 'loss va 100; loss vb 100; sleep {seconds}; loss va 0; loss vb 0',
    'link down': 'link_down va; sleep {seconds}; link_up va',
    'link down 10 s': 'link_down va; sleep 10; link_up va',
    'device removed': 'rdma_del rxeb && sleep {seconds} && rdma_add rxeb vb',
    'stopped': 'kill -STOP $pid; sleep {seconds}; kill -CONT $pid',
    'killed': 'kill -KILL $pid',
}
STILL = 'killed, standing still'
KINDS = [*FAULTS, STILL]
STOPS = (SIZE // 2, SIZE * 9 // 10), (SIZE + 1, 2 * SIZE - 1)    # while the server receives, not so late that little is left; and while it sends
BOTH = 'both_ways', 'two_threads'    # the server does both at once: it stops while there is something to receive
# Where the server has not read all, something lies in its queue before it is killed.
KILL = 'until grep -q "^State:.T" /proc/$pid/status; do over && break; sleep .02; done; {wait}kill -KILL $pid'
UNREAD = 'until [ "$(ss -Htn state established "sport = :{port}" | cut -d" " -f1)" -gt 0 ]; do sleep .02; done; '

# One connection: its style's name goes to both programs; the fault, where there is one, comes meanwhile. It is over
# when both have said how it ended.
CONVERSATION = '''
. "$VHOST_NET"
a=/sys/class/infiniband/rxea/ports/1/hw_counters/sent_pkts b=/sys/class/infiniband/rxeb/ports/1/hw_counters/sent_pkts
sent() {{ read -r x <$a && read -r y <$b && echo $((x + y)); }}
ended() {{ mapfile -t l <$1/stdout; [ ${{#l[@]}} -ge $2 ] || [ -e $1/rc ]; }}
over() {{ ended {client} {client_lines} && ended {server} {server_lines}; }}
pid=$(cat {server}/pid)
before=$(sent)
echo {style}{stop} >{fifos}/b
echo {style} >{fifos}/a
{fault}
until over; do sleep .02; done
{counters}
'''
FAULT = '''
until [ $(sent) -gt $((before + {packets})) ]; do over && missed=1 && break; done
if [ -n "$missed" ]; then echo missed; else {script}; fi
rdma_active rxea && rdma_active rxeb
'''


class Pair:
    """prog_stream on both hosts, told one style after the other; or another program that is told what to do by its input."""

    made = 0
    program, arguments, first = 'prog_stream', ('-n', str(SIZE), '-f'), 'large'

    def __init__(self, a, b, preload=None, tool=None, settings=None):
        Pair.made += 1
        self.tool, self.sums, self.gone = tool, collections.Counter(), None
        self.folder = f'{COUNTERS}/{Pair.made}'
        a.run(f'mkdir -p -m 700 {COUNTERS}; mkdir -m 700 {self.folder}; mkfifo {self.folder}/a {self.folder}/b')
        env = {'DLACCEL_DIR': self.folder, 'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_LOG': 'info',
               **(settings or {'DLACCEL_RDMA_DEAD': '200ms'}), **({'LD_PRELOAD': preload} if preload else {})}
        self.a, self.b, self.heard = a, b, [[], []]
        self.port = str(next(streams.PORTS))
        self.server = self.start(b, 'b', env, ['serve', b.addr, self.port, *self.arguments])
        self.server.expect('listening')
        self.client = self.start(a, 'a', env, ['talk', b.addr, self.port, *self.arguments, '-b', a.addr])

    def start(self, host, name, env, args):
        """The program itself opens the fifo for writing too: it has no end."""
        words = shlex.join(['env', *(f'{k}={v}' for k, v in env.items()), hosts.program(self.program), *args])
        return host.spawn(f'exec {words} 0<>{self.folder}/{name}')

    def stats(self):
        return [f'{self.folder}/{job.read("pid").strip()}.stats' for job in (self.client, self.server)]

    def talk(self, style, fault='', limit=120, stop=''):
        """What each end printed of one connection, or how it ended; and the script's own words."""
        jobs = self.client, self.server
        said = [len(job.out.splitlines()) for job in jobs]
        out = [f'/out/jobs/{job.number}' for job in jobs]
        script = CONVERSATION.format(client=out[0], client_lines=said[0] + 1, server=out[1], server_lines=said[1] + 1,
                                     style=style, stop=stop, fifos=self.folder, fault=fault,
                                     counters=counters_script(self.tool, self.folder) if self.tool else '')
        try:
            done = self.a.spawn(script).wait(limit)
        except vhost.VhostError as e:
            raise vhost.VhostError(f'{e}\n{self.said()}') from None
        assert done.rc == 0, done
        self.count(done.out)
        return [self.answer(job, n) for job, n in zip(jobs, said)], done.out

    @staticmethod
    def answer(job, said):
        """The lines since then, and where it has ended, how."""
        rc = job.rc
        return job.out.splitlines()[said:] + (job.err.splitlines() + [f'exit code {rc}'] if rc is not None else [])

    def said(self):
        return '\n'.join(job.describe(who) for who, job in (('client', self.client), ('server', self.server))) + (
            f'\n--- log\n' + self.a.run(f'cat {self.folder}/log', check=False).out)

    def count(self, text):
        """The counters of both ends: so far, and of this connection."""
        before, self.sums = self.sums, collections.Counter()
        for end in parse_counters(text):
            self.sums.update(end)
        self.gone = self.sums - before

    def killed_at(self, style, at):
        """The same of one whose server stops there, and is killed."""
        wait = UNREAD.format(port=self.port) if at < SIZE else ''
        return self.talk(style, KILL.format(wait=wait), stop=f'@{at}')[0]

    def alive(self):
        return self.client.rc is None and self.server.rc is None

    def warm(self):
        for _ in range(WARM):
            self.talk(self.first)
            if self.sums['net.upgraded.verbs'] >= 2:
                return self
        raise AssertionError('RDMA is not used: ' + self.said())

    def end(self):
        for job in (self.client, self.server):
            job.kill()


def bare(a, b):
    """What each style prints, at the client and at the server."""
    pair = Pair(a, b)
    want = {style: pair.talk(style)[0] for style in STYLES}
    pair.end()
    return want


def survived(client, server):
    """A peer that is killed in the middle of anything: the survivor's error is one that TCP would have given it."""
    words = ' '.join(client)
    assert server[-1] == 'exit code 137', server
    assert client[-1] == 'exit code 1', client
    assert any(e in words for e in ('reset', 'Broken pipe', 'returned 0', 'end in place')), client


def how_it_ended(client, server):
    """The survivor's error; or the end, behind all that the other has sent."""
    survived(client, server)
    words = next(line for line in client if line.startswith('FAIL '))
    ended = re.search(r'get returned 0 of \d+ at byte (\d+)$', words)
    sent = re.search(r'stopped: in \d+, out (\d+)', '\n'.join(server))
    assert not ended or ended[1] == sent[1], (client, server)
    return 'the end' if ended else words.rpartition(': ')[2]


class Judge:
    """One seed after the other, on one pair for as long as both ends live."""

    def __init__(self, a, b, args, want):
        self.a, self.b, self.args = a, b, args
        self.want, self.pair, self.failed = want, None, []
        self.tally = collections.Counter()

    def warm_pair(self):
        if not self.pair or not self.pair.alive():
            self.pair = Pair(self.a, self.b, self.args.preload, self.args.tool).warm()
        return self.pair

    def devices_meet(self):
        """Whether programs that know nothing of us do."""
        try:
            faults.Connection(self.a, self.b).end()
        except vhost.VhostError:
            return False
        return True

    def renew(self):
        self.pair.end()
        for host in (self.a, self.b):
            host.remove_rdma().wait()
            host.add_rdma()

    def judge(self, seed):
        """Where nothing went by RDMA perhaps nothing can: a message of the connection manager that finds no route puts soft-RoCE's queue
        pair of all such messages (6.1) into error for good. Then once more, on new devices."""
        if not self.judged(seed) and not self.devices_meet():
            self.tally['devices that met nobody any more', 'made anew'] += 1
            self.renew()
            self.judged(seed)

    def judged(self, seed):
        """Whether anything went by RDMA, or could have."""
        dice = random.Random(seed)
        name, style = KINDS[seed % len(KINDS)], dice.choice(STYLES)
        if name == STILL:
            for stops in STOPS[:1 if style in BOTH else 2]:
                self.killed_still(seed, style, dice.randrange(*stops))
            return True
        seconds, packets = dice.choice((.1, 1, 2)), dice.randrange(4, 250)
        pair = self.warm_pair()
        ends, words = pair.talk(style, FAULT.format(packets=packets, script=FAULTS[name].format(seconds=seconds)))
        gone = pair.gone
        missed = words.startswith('missed')
        if name == 'killed' and not missed:
            survived(*ends)
        else:
            assert ends == self.want[style], (ends, self.want[style], pair.said())
        assert not gone['net.violations'], gone
        felt = gone['rdma.failovers'] or name == 'killed'
        self.tally[name, 'missed' if missed else 'felt' if felt else 'held'] += 1
        print(f'ok {seed}: {name} ({seconds} s) under {style} after {packets} packets, {gone["net.bytes_verbs"]} bytes by RDMA, '
              f'{gone["rdma.failovers"]} directions went on' + (f', missed\n{dict(gone)}\n{pair.said()}' if missed else ''))
        return gone['net.bytes_verbs'] or not missed

    def killed_still(self, seed, style, at):
        pair, bare = self.warm_pair(), Pair(self.a, self.b)
        got, want = how_it_ended(*pair.killed_at(style, at)), how_it_ended(*bare.killed_at(style, at))
        assert got == want, (got, want, pair.said())
        assert not pair.gone['net.violations'], pair.gone
        self.tally[STILL, 'felt'] += 1
        print(f'ok {seed}: {STILL} behind {at} bytes under {style}, {pair.gone["net.bytes_verbs"]} bytes by RDMA: {got}, as bare')

    def attempt(self, seed):
        try:
            self.judge(seed)
        except (AssertionError, vhost.VhostError) as e:
            self.failed.append(seed)
            print(f'FAIL {seed}: {e}')
            if self.pair:
                self.pair.end()

    def until_felt(self, name, last):
        """Seeds of that kind from `last` on, as far as they are needed."""
        more = [seed for seed in range(last, last + MORE * len(KINDS)) if KINDS[seed % len(KINDS)] == name]
        while more and not self.tally[name, 'felt']:
            self.attempt(more.pop(0))
        assert self.tally[name, 'felt'], f'{name}: no stream felt it: {self.tally}'


def comes_back(a, b, args):
    """An echo in one connection: the link is down for a second, and a while later both ends send by RDMA again."""
    folder, port = f'{COUNTERS}/back', str(next(streams.PORTS))
    a.run(f'mkdir -p -m 700 {COUNTERS}; mkdir -m 700 {folder}')
    kw = {'env': {'DLACCEL_DIR': folder, 'DLACCEL_NET_THRESHOLD': '2K', 'DLACCEL_LOG': 'debug',
                  'DLACCEL_RDMA_DEAD': '2s'}, 'preload': args.preload}
    server = b.spawn([sys.executable, ECHO, 'asyncio', b.addr, port], **kw)
    server.expect('listening', 300)
    client = a.spawn([sys.executable, ECHO, 'talk', b.addr, port, '1', ROUNDS, '60000'], **kw)

    def both(name, least=1):
        """The counter of both ends, once it is so large."""
        def look():
            said = a.run(counters_script(args.tool, folder), check=False).out    # there may be none yet
            ends = [c.get(name, 0) for c in parse_counters(said) if c.get('net.upgraded.verbs')]
            return ends if len(ends) == 2 and min(ends) >= least else client.rc is not None and 'over'
        found = vhost.wait_until(look, 300, name)
        assert found != 'over', f'{name}: {client.describe("ended")}\n' + a.run(f'cat {folder}/log').out
        return found

    both('net.bytes_verbs')
    a.link(False)
    a.run('sleep 1')
    a.link(True)
    both('rdma.returns')
    before = both('net.bytes_verbs')
    after = both('net.bytes_verbs', max(before) + 100000)
    done = client.wait(300)
    server.kill('TERM')
    assert done.rc == 0 and done.out, done
    assert not any('net.violations' in c for c in counters(a, args.tool, folder))
    print(f'ok link down, and up: back to RDMA, {before} and then {after} bytes by it')


def body(args):
    first, last = map(int, args.seeds.split(':'))
    with hosts.near('failover') as (a, b):
        comes_back(a, b, args)
        judge = Judge(a, b, args, bare(a, b))
        for seed in range(first, last):
            judge.attempt(seed)
        for name in KINDS if last - first >= len(KINDS) else ():
            judge.until_felt(name, last)
        for (name, what), n in sorted(judge.tally.items()):
            print(f'{name}: {n} {what}')
        assert not judge.failed, f'seeds {judge.failed}'
        missed = sum(n for (_, what), n in judge.tally.items() if what == 'missed')
        assert missed * 10 <= judge.tally.total(), judge.tally


if __name__ == '__main__':
    vhost.main_preloaded(body, seeds='0:7')
