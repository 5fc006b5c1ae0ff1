"""Two hosts, two rxe devices: stock verbs programs run between them, over the wire."""
import hosts
import vhost


def rise(host, name, work):
    before = host.counter(name)
    work()
    return host.counter(name) - before


def rping(a, b):
    server = b.spawn(['rping', '-s', '-a', b.addr, '-C', '10', '-v'])
    b.wait_rdma(7174)
    res = a.run(['rping', '-c', '-a', b.addr, '-C', '10', '-v'])
    assert res.out.count('ping data: rdma-ping-') == 10, res
    assert server.wait().rc == 0


def pingpong(a, b):
    def argv(host, *more):
        return ['ibv_rc_pingpong', '-d', host.rdma, '-g', host.gid_index(), '-n', '200', '-s',
                '4096', '-c', *more]
    server = b.spawn(argv(b))
    b.guest.wait_tcp(18515)
    res = a.run(argv(a, b.addr))
    assert '200 iters' in res.out and 'invalid data' not in res.out, res
    assert server.wait().rc == 0


def tcp_crosses_the_wire(a, b):
    """An unbound client goes out by the other host's device; tcpdump-free proof by counters."""
    def sent():
        return int(a.run(f'cat /sys/class/net/{a.netdev}/statistics/tx_bytes').out)
    server = b.spawn('nc -l -N %s 7010 | wc -c' % b.addr)
    b.guest.wait_tcp(7010)
    before = sent()
    a.run(f'head -c 1000000 /dev/zero | nc -N {b.addr} 7010')
    assert server.wait().out.strip() == '1000000'
    assert sent() - before > 1000000, 'TCP went past the wire'


def hosts_differ(a, b):
    """Of two programs that compare boot ids, ours would share memory and leave the wire idle."""
    ids = {h.run('cat /proc/sys/kernel/random/boot_id').out for h in (a, b)}
    assert len(ids) == 2 and all(len(i) == 37 for i in ids), ids


def body():
    with hosts.near('smoke') as (a, b):
        for work, packets in ((rping, 20), (pingpong, 400), (tcp_crosses_the_wire, 0),
                              (hosts_differ, 0)):
            sent = rise(a, 'sent_pkts', lambda: work(a, b))
            print(f'ok {work.__name__}: {sent} RDMA packets from {a.rdma}')
            assert sent >= packets and (packets or not sent), sent


vhost.main(body)
