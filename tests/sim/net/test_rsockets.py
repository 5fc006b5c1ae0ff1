"""The harness's preload argument, shown with rsockets' own library: prog_stream's bytes cross as
RDMA; and the harness sees it when a preload breaks a program."""
import hosts
import streams
import vhost


def packets(a, b, style, preload):
    before = a.counter('sent_pkts')
    problem = streams.verdict(a, b, style, preload=(preload, preload), limit=30)
    return a.counter('sent_pkts') - before, problem


def body():
    lib = streams.librspreload()
    assert lib, 'librspreload.so is not installed (package librdmacm1)'
    with hosts.near('rsockets') as (a, b):
        for style in ('plain', 'poll'):
            sent, problem = packets(a, b, style, lib)
            assert not problem, f'{style}: {problem}'
            assert sent > 60, f'{style}: {sent} RDMA packets'
            print(f'ok {style} under rsockets: {sent} RDMA packets')
        sent, problem = packets(a, b, 'plain', None)
        assert not problem and sent == 0, (sent, problem)
        sent, problem = packets(a, b, 'fork', lib)
        assert problem, 'rsockets is known to lose a connection that a child serves'
        print(f'ok a broken program is seen: {problem}')


vhost.main(body)
