"""Checksummed traffic of several connections at once between two hosts, both ways, with random sizes, pauses and ways to use a
socket; in every second round links, devices or the server's process fail meanwhile.

Every fourth round pauses for so long that streams are back on RDMA before their end.

    test_soak.py --preload LIBRARY --tool DLACCEL [--seeds FIRST:LAST] [--minutes N]

A seed is a round; with N more follow until as many minutes are over. Both ends compare every byte with what its place says.
"""
import random
import time

import hosts
import vhost
from test_failover import FAULT, FAULTS, Judge, Pair

KINDS = [name for name in FAULTS if name not in ('killed', 'link down 10 s')]
MOST = 3    # faults in a round; one that finds RDMA not back yet comes to nothing
LIMIT = 300


class Soak(Pair):
    program, arguments, first = 'prog_soak', ('-n', '10000000', '-c', '5'), '0'


def plan(seed):
    """(name, script) of each fault that comes while the round's packets go."""
    dice = random.Random(seed)
    sent, faults = 0, []
    for _ in range(dice.randint(1, MOST) if seed % 2 else 0):
        name, sent = dice.choice(KINDS), sent + dice.randrange(4, 4000)
        faults.append((name, FAULT.format(packets=sent, script=FAULTS[name].format(seconds=dice.choice((.1, .5, 1))))))
    return faults


class Rounds(Judge):
    def warm_pair(self):
        if not self.pair or not self.pair.alive():
            self.pair = Soak(self.a, self.b, self.args.preload, self.args.tool, {'DLACCEL_RDMA_DEAD': '1s'}).warm()
        return self.pair

    def judged(self, seed):
        """Whether anything went by RDMA."""
        pair, faults = self.warm_pair(), plan(seed)
        ends, _ = pair.talk(str(seed), '\n'.join(script for _, script in faults), LIMIT)
        gone = pair.gone
        assert ends[0] == ends[1] and ends[0][0].startswith(f'{seed}: '), (ends, pair.said())
        assert ends[0] == self.want.get(seed, ends[0]), (ends, self.want[seed])
        assert not gone['net.violations'], (gone, pair.said())
        self.tally['bytes', 'by RDMA'] += gone['net.bytes_verbs']
        self.tally['directions', 'that went on over TCP'] += gone['rdma.failovers']
        self.tally['directions', 'back'] += gone['rdma.returns']
        print(f'ok {ends[0][0]}; {gone["net.bytes_verbs"]} by RDMA; {", ".join(name for name, _ in faults) or "nothing"} failed, '
              f'{gone["rdma.failovers"]} directions went on, {gone["rdma.returns"]} came back')
        return gone['net.bytes_verbs'] > 0


def bare(a, b, seed):
    pair = Soak(a, b)
    ends, _ = pair.talk(str(seed), limit=LIMIT)
    pair.end()
    assert ends[0] == ends[1], ends
    return {seed: ends[0]}


def seeds(args):
    first, last = map(int, args.seeds.split(':'))
    end = time.monotonic() + 60 * args.minutes
    while first < last or time.monotonic() < end:
        yield first
        first += 1


def body(args):
    with hosts.near('soak') as (a, b):
        rounds = Rounds(a, b, args, bare(a, b, int(args.seeds.split(':')[0])))
        for seed in seeds(args):
            rounds.attempt(seed)
        for (name, what), n in sorted(rounds.tally.items()):
            print(f'{name}: {n} {what}')
        assert not rounds.failed, f'seeds {rounds.failed}'
        assert rounds.tally['bytes', 'by RDMA'] and rounds.tally['directions', 'that went on over TCP'], rounds.tally


if __name__ == '__main__':
    vhost.main_preloaded(body, seeds='0:8', minutes=0)
