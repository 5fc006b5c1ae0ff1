"""Back to RDMA: a stream whose link was down, or whose device was removed and is there again, goes on by RDMA at both ends;
and either end may be killed while they meet again.

    test_return.py --preload LIBRARY --tool DLACCEL [--seeds FIRST:LAST]

One connection pauses with half of its bytes sent; what happens to its link happens then. Seeds choose who is killed, and when.
"""
import random

import hosts
import vhost
from test_detect import script
from test_failover import Pair, survived

SETTINGS = {'DLACCEL_RDMA_DEAD': '2s'}
TRIES = 4    # RDMA must be there when the connection pauses
DOWN = 'link_down va; sleep 1; link_up va'
ROWS = {
    'link down': DOWN,
    'device removed at the client': 'rdma_del rxea; sleep 1; rdma_add rxea va',
    'device removed at the server': 'rdma_del rxeb; sleep 1; rdma_add rxeb vb',
    'both devices removed': 'rdma_del rxea; rdma_del rxeb; sleep 1; rdma_add rxea va; rdma_add rxeb vb',
}

STRIKE = '''
said() {{ grep -c "$1" {folder}/log; }}
if [ $(said "RDMA with") -lt $(({met} + 2)) ]; then
	echo missed
	go
else
	{strike}
fi
'''
BACK = 'n=$(said "RDMA is back"); {fault}; until [ $(said "RDMA is back") -ge $((n + 2)) ]; do sleep .1; done; go'
KILL = DOWN + '; sleep {seconds}; kill -KILL {pid}; {go}'
WHEN = 3, 4.5    # seconds after the port is active again: it has settled, both ends look for each other, and have met


def strike(pair, what, **kw):
    """Both ends' last words, once it struck a connection that used RDMA; None: it did not."""
    met = pair.a.run(f'cat {pair.folder}/log').out.count('RDMA with')
    rest = STRIKE.format(folder=pair.folder, met=met, strike=what.format(**kw))
    ends, words = pair.talk('pause', script(pair, rest), limit=240)
    return None if words.startswith('missed') else ends


def comes_back(pair, want, name):
    for _ in range(TRIES):
        ends = strike(pair, BACK, fault=ROWS[name])
        if ends:
            break
    gone = pair.gone
    assert ends == want, (name, ends, want, pair.said())
    assert gone['rdma.failovers'] >= 2 and gone['rdma.returns'] >= 2 and not gone['net.violations'], (name, gone, pair.said())
    print(f'ok {name}: back to RDMA, {gone["net.bytes_verbs"]} bytes by it')


def killed(a, b, args, seed):
    """The end that is left sees what TCP would show it."""
    seconds, victim = random.Random(seed).uniform(*WHEN), seed % 2
    for _ in range(TRIES):
        pair = Pair(a, b, args.preload, args.tool, SETTINGS).warm()
        pid = (pair.client, pair.server)[victim].read('pid').strip()
        ends = strike(pair, KILL, seconds=seconds, pid=pid, go='go' if victim else ':')
        pair.end()
        if ends:
            break
    assert ends, 'RDMA was never there'
    survived(ends[not victim], ends[victim])
    print(f'ok {seed}: {("client", "server")[victim]} killed {seconds:.2f} s after the link was up again')


def body(args):
    with hosts.near('return') as (a, b):
        bare = Pair(a, b)
        want = bare.talk('pause', script(bare, 'go'))[0]
        bare.end()
        pair = Pair(a, b, args.preload, args.tool, SETTINGS).warm()
        for name in ROWS:
            comes_back(pair, want, name)
        pair.end()
        for seed in range(*map(int, args.seeds.split(':'))):
            killed(a, b, args, seed)


if __name__ == '__main__':
    vhost.main_preloaded(body, seeds='0:2')
