"""How soon a fault is found, by the guest's own clock: no later than twice the setting, under load and idle, at both ends.
A delay that is longer than the setting, and ends, is found too: it is counted, costs RDMA for that stream, and nothing else.

    test_detect.py --preload LIBRARY --tool DLACCEL

Time in which the guest itself stood still is measured by a loop beside it and is not the library's.
"""
import hosts
import vhost
from test_failover import Pair

DEAD, IDLE = 1, 2    # the settings, in seconds
SETTINGS = {'DLACCEL_RDMA_DEAD': f'{DEAD}s', 'DLACCEL_RDMA_IDLE': f'{IDLE}s'}
SLACK = .2           # of the watch itself
SIZE = 8000000
TRIES = 4            # a guest that stands still has false alarms of its own

LOAD = 'go; until [ $(sent) -gt $((before + 40)) ]; do :; done'
HOLE = 'loss va 100; loss vb 100', 'loss va 0; loss vb 0'
DOWN = 'link_down va', 'link_up va'
SLOW = ('for d in va vb; do tc qdisc add dev $d root netem limit 10000 delay 3s; done',
        'for d in va vb; do tc qdisc change dev $d root netem limit 10000 delay 0s; done')
# name: how it begins and ends; whether under load; how long the sender and the receiver may take
SCENES = {
    'black hole under load': (HOLE, True, (DEAD, IDLE)),
    'black hole, idle': (HOLE, False, (IDLE, IDLE)),
    'link down under load': (DOWN, True, (DEAD, DEAD)),
    'link down, idle': (DOWN, False, (IDLE, IDLE)),
    'a delay that ends': (SLOW, True, (DEAD, IDLE)),
}

SCRIPT = '''
go() {{ echo >{fifo}; }}
export before=$(sent) VHOST_NET a b; export -f go sent
until [ $(grep -c paused {client}/stderr) -gt {pauses} ]; do sleep .05; done
{rest}
'''
STRIKE = '''
python3 {watch} '. $VHOST_NET; before=$(sent); {moment}; {strike}; echo struck' {limit} {stats}
{heal}
{go}
for d in va vb; do tc qdisc del dev $d root 2>/dev/null; done
rdma_active rxea && rdma_active rxeb
'''


def script(pair, rest):
    """Runs when the client has paused: the stream is there and idle."""
    return SCRIPT.format(fifo=f'{pair.folder}/a', client=f'/out/jobs/{pair.client.number}',
                         pauses=pair.client.err.count('paused'), rest=rest)


class Long(Pair):
    arguments = ('-n', str(SIZE), '-f')


class Detection:
    def __init__(self, a, b, args):
        self.a, self.b = a, b
        bare = Long(a, b)
        self.want = bare.talk('pause', script(bare, 'go'))[0]
        bare.end()
        self.pair = Long(a, b, args.preload, args.tool, SETTINGS).warm()

    def strike(self, fault, load):
        """[(seconds, lost, counter) or None]: of the sender and of the receiver."""
        strike, heal = fault
        stats = self.pair.stats()
        ends, words = self.pair.talk('pause', script(self.pair, STRIKE.format(
            watch=vhost.HERE / 'net_watch.py', moment=LOAD if load else ':', strike=strike, heal=heal, go='' if load else 'go',
            limit=3 * IDLE, stats=' '.join(stats))))
        assert ends == self.want, (ends, self.want, self.pair.said())
        said = dict((fields[0], (float(fields[1]), float(fields[2]), ' '.join(fields[3:])))
                    for fields in map(str.split, words.splitlines()) if fields and fields[0] in stats)
        return [said.get(path) for path in stats]

    def early(self):
        """The link had failed before anything struck, or was never there."""
        gone = self.pair.gone
        return gone['net.upgraded.verbs'] < 2 or gone['rdma.fallback.failed'] + gone['rdma.fallback.silent'] > 0

    def scene(self, name):
        fault, load, limits = SCENES[name]
        for _ in range(TRIES):
            found = self.strike(fault, load)
            if all(found) or not self.early():
                break
            print(f'{name}: RDMA was not there any more, again')
        assert all(found), (name, found, self.pair.gone, self.pair.said())
        for who, (seconds, lost, counter), limit in zip(('sender', 'receiver'), found, limits):
            print(f'{name}: {who} after {seconds} s ({lost} s lost), {counter}')
        for (seconds, lost, _), limit in zip(found, limits):
            assert seconds - lost <= 2 * limit + SLACK, (name, found, self.pair.said())
        gone = self.pair.gone
        assert gone['rdma.failovers'] and not gone['net.violations'], gone

    def well_again(self):
        """A new connection goes by RDMA, all of it."""
        for _ in range(TRIES):
            self.pair.talk('large')
            gone = self.pair.gone
            if gone['net.upgraded.verbs'] == 2 and not gone['rdma.failovers']:
                print(f'ok well again: {gone["net.bytes_verbs"]} bytes by RDMA')
                return
        raise AssertionError(gone)


def body(args):
    with hosts.near('detect') as (a, b):
        detection = Detection(a, b, args)
        for name in SCENES:
            detection.scene(name)
        detection.well_again()


if __name__ == '__main__':
    vhost.main_preloaded(body)
