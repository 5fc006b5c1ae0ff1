"""What the guest's kernel has of an RDMA device, by its own lists: the library's word is held against that.

The kernel numbers the registrations of a device one after the other: the number of one that is made now says how many there were. So
whoever registers anew and gives back the old is found, too.
"""
import json

import vhost

SHOW = '''
. "$VHOST_NET"
rdma -j resource show mr dev {0} && rdma -j resource show qp link {0}/1 || exit
if [ -n "{1}" ]; then next_region {0} "$(gid_index {0} {1})"; fi
'''


INNER = 1 << 17, 1 << 16  # slots for messages, bounce buffers: of no other length that the tests' programs have


class Look:
    """The lists of a moment. regions: {number: bytes} of rings and of the program's memory; inner: how many other registrations there are; pairs: the numbers of the programs' queue pairs; made: how many registrations there were, where that was asked."""

    def __init__(self, mrs, qps, made):
        self.regions = {r['mrn']: r['mrlen'] for r in mrs if r['mrlen'] not in INNER}
        self.inner = len(mrs) - len(self.regions)
        self.pairs = {q['lqpn'] for q in qps if q['type'] == 'RC'}
        self.made = made


class Lists:
    def __init__(self, host):
        self.host, self.asked = host, 0

    def look(self, count=False):
        """count: how many registrations there were, too, by one of another program."""
        said = self.host.run(SHOW.format(self.host.rdma, self.host.addr if count else '')).out.split('\n')
        lines = [json.loads(line) for line in said if line]
        made = lines.pop() - self.asked if count else None
        self.asked += count
        return Look(*lines, made)

    def wait(self, is_so, limit, what):
        vhost.wait_until(lambda: is_so(self.look()), limit, f'{self.host.rdma}: {what}')


def registered(before, after):
    """How often memory of the program was, between two looks: not slots for messages, nor bounce buffers. None where a connection has
    come or gone, with rings of which nobody knows how often they were made."""
    return after.made - before.made - (after.inner - before.inner) if after.pairs == before.pairs else None
