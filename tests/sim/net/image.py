"""The kernel that the virtual hosts boot: downloaded as a package, never installed.

    image.build() -> Image(vmlinux, initrd, modules)

The distribution's own kernel package is fetched with `apt-get download` and unpacked into a cache
(DLACCEL_VHOST_CACHE, else k/ beside this file). Out of it come an uncompressed kernel (QEMU starts
it through PVH and saves the guest 3 s of unpacking), the modules named below with all that they
need, and an initrd that mounts the outer system. Raises Unavailable where no such package is to be
had; anything else that goes wrong is an error and not a reason to skip.
"""
import fcntl
import gzip
import hashlib
import lzma
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zlib
from collections import namedtuple
from pathlib import Path

HERE = Path(__file__).resolve().parent
METAPACKAGES = ('linux-image-amd64', 'linux-image-generic')
BOOT_MODULES = ('virtio_pci', '9pnet_virtio', '9p', 'overlay')
GUEST_MODULES = (
    'virtio_net', 'virtio_console', 'virtio_rng', 'veth', 'dummy', 'tun', 'bridge',
    'rdma_rxe', 'rdma_ucm', 'ib_uverbs', 'ib_umad',
    'sch_netem', 'sch_tbf', 'sch_ingress', 'act_mirred', 'cls_u32', 'cls_matchall',
    'nf_tables', 'nft_ct', 'nft_limit', 'nft_reject_inet', 'nft_compat', 'nfnetlink',
    'ip_tables', 'iptable_filter', 'x_tables', 'xt_tcpudp', 'xt_statistic', 'xt_conntrack',
    'crc32_generic', 'crc32_pclmul', 'crc32c_generic', 'crc32c_intel',    # by alias, at run time
    'tcp_diag', 'udp_diag', 'unix_diag', 'inet_diag', 'tls', 'fuse')
APPLETS = ('sh', 'mount', 'umount', 'insmod', 'mkdir', 'switch_root', 'cat', 'ls', 'tail')

Image = namedtuple('Image', 'release vmlinux initrd modules')


class Unavailable(Exception):
    """No kernel package with soft-RoCE can be had here."""


def tool(name):
    path = shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin')
    if not path:
        raise RuntimeError(f'{name} is not installed')
    return path


def output(*argv, **kw):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, **kw).stdout


def cache_dir():
    return Path(os.environ.get('DLACCEL_VHOST_CACHE') or HERE / 'k')


# ---- the package ----

def image_package():
    """The kernel image that the distribution's metapackage depends on today."""
    asked = os.environ.get('DLACCEL_VHOST_KERNEL')
    if asked:
        return asked
    if not shutil.which('apt-get'):
        raise Unavailable('no apt-get: the kernel package of Debian or Ubuntu is needed')
    for meta in METAPACKAGES:
        out = subprocess.run(['apt-cache', 'depends', meta], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True).stdout
        for line in out.splitlines():
            if line.strip().startswith('Depends: linux-image-'):
                return line.split()[-1]
    raise Unavailable('apt knows none of ' + ', '.join(METAPACKAGES))


def release_of(package):
    return package.removeprefix('linux-image-').removeprefix('unsigned-')


def packages_of(image):
    """Ubuntu keeps the modules in packages beside the image; Debian has them inside."""
    rel = release_of(image)
    extra = [f'linux-modules-{rel}', f'linux-modules-extra-{rel}']
    known = subprocess.run(['apt-cache', '-q', 'show', *extra], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True).stdout
    return [image] + [p for p in extra if f'Package: {p}\n' in known]


def download(debs, package):
    """Fetches into a directory of its own first: a killed download leaves no half package."""
    with tempfile.TemporaryDirectory(dir=debs) as tmp:
        r = subprocess.run(['apt-get', '-q', 'download', package], cwd=tmp, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        got = list(Path(tmp).glob('*.deb'))
        if r.returncode or len(got) != 1:
            last = r.stdout.strip().splitlines()[-1:] or ['no output']
            raise Unavailable(f'apt-get download {package}: {last[0]}')
        got[0].rename(debs / got[0].name)


def fetch(cache):
    """The packages' files, [image, modules...]; what the cache holds needs neither apt nor network."""
    debs = cache / 'debs'
    debs.mkdir(parents=True, exist_ok=True)
    wanted = debs / 'wanted'
    asked = os.environ.get('DLACCEL_VHOST_KERNEL')
    if wanted.exists() and (not asked or wanted.read_text().split()[0] == asked):
        names = wanted.read_text().split()
    else:
        names = packages_of(image_package())
        wanted.unlink(missing_ok=True)
        for name in names:
            if not list(debs.glob(name + '_*.deb')):
                print(f'vhost: downloading {name}', file=sys.stderr)
                download(debs, name)
        wanted.write_text(' '.join(names))
    return release_of(names[0]), [next(debs.glob(n + '_*.deb')) for n in names]


# ---- kernel and modules ----

def unzstd(data):
    r = subprocess.run([tool('zstd'), '-dcq'], input=data, stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL)
    return r.stdout


PACKERS = (  # magic, decompress; trailing bytes after the stream are expected in a bzImage
    (b'\xfd7zXZ\0', lambda d: lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(d)),
    (b'\x28\xb5\x2f\xfd', unzstd),
    (b'\x1f\x8b\x08', lambda d: zlib.decompressobj(31).decompress(d)))


def uncompressed_kernel(bzimage):
    """The ELF kernel inside a bzImage, or None where this kernel packs it in another way."""
    for magic, unpack in PACKERS:
        at = bzimage.find(magic)
        if at < 0:
            continue
        try:
            elf = unpack(bzimage[at:])
        except (lzma.LZMAError, zlib.error):
            continue
        if elf[:4] == b'\x7fELF':
            return elf
    return None


def plain_module(path):
    data = path.read_bytes()
    for magic, unpack in PACKERS:
        if data.startswith(magic):
            return unpack(data)
    return data


def module_files(root, release, name):
    """Files of a module and of what it needs, in the order of insmod; [] where it is built in."""
    r = subprocess.run([tool('modprobe'), '-d', str(root), '-S', release, '--show-depends', name],
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = [ln.split() for ln in r.stdout.splitlines()]
    return [Path(f[1]) for f in lines if f and f[0] == 'insmod'] if r.returncode == 0 else []


def keep_modules(tree, release, dest):
    """Copies the named modules and what they need: 20 MB in place of 400."""
    moddir = tree / 'lib/modules' / release
    if not moddir.exists():
        moddir = tree / 'usr/lib/modules' / release
    root = moddir.parents[2]
    subprocess.run([tool('depmod'), '-b', str(root), release], check=True)
    if not module_files(root, release, 'rdma_rxe'):
        raise Unavailable(f'kernel {release} has no rdma_rxe')
    target = dest / 'lib/modules' / release
    for name in BOOT_MODULES + GUEST_MODULES:
        for src in module_files(root, release, name):
            out = target / src.resolve().relative_to(moddir.resolve())
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(src, out)
    for index in ('modules.order', 'modules.builtin', 'modules.builtin.modinfo'):
        if (moddir / index).exists():
            shutil.copyfile(moddir / index, target / index)
    subprocess.run([tool('depmod'), '-b', str(dest), release], check=True)
    return root


# ---- initrd ----

def cpio(entries):
    """A newc archive of [(name, mode, data)]."""
    out = bytearray()
    for ino, (name, mode, data) in enumerate(entries + [('TRAILER!!!', 0, b'')], 1):
        raw = name.encode() + b'\0'
        fields = (ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out += b'070701' + b''.join(b'%08X' % f for f in fields) + raw
        out += b'\0' * (-len(out) % 4) + data
        out += b'\0' * (-len(out) % 4)
    return bytes(out)


def initrd(root, release):
    mods = {}
    for name in BOOT_MODULES:
        for f in module_files(root, release, name):
            mods.setdefault(f.name.split('.ko')[0] + '.ko', plain_module(f))
    dirs = ('bin', 'mod', 'proc', 'sys', 'dev', 'lower', 'rw', 'newroot')
    entries = [(d, stat.S_IFDIR | 0o755, b'') for d in dirs]
    entries.append(('bin/busybox', stat.S_IFREG | 0o755, Path(tool('busybox')).read_bytes()))
    entries += [(f'bin/{a}', stat.S_IFLNK | 0o777, b'busybox') for a in APPLETS]
    entries += [(f'mod/{m}', stat.S_IFREG | 0o644, data) for m, data in mods.items()]
    entries.append(('mod/order', stat.S_IFREG | 0o644, '\n'.join([*mods, '']).encode()))
    entries.append(('init', stat.S_IFREG | 0o755, (HERE / 'guest/init').read_bytes()))
    return gzip.compress(cpio(entries), 1)


# ---- all of it ----

def build_into(dest, debs, release):
    with tempfile.TemporaryDirectory(dir=dest.parent) as tmp:
        for deb in debs:
            subprocess.run([tool('dpkg-deb'), '-x', str(deb), tmp], check=True)
        tree = Path(tmp)
        root = keep_modules(tree, release, dest)
        bz = (tree / f'boot/vmlinuz-{release}').read_bytes()
        (dest / 'vmlinux').write_bytes(uncompressed_kernel(bz) or bz)
        (dest / 'initrd.gz').write_bytes(initrd(root, release))


def key(release):
    h = hashlib.sha256(Path(__file__).read_bytes() + (HERE / 'guest/init').read_bytes())
    return f'{release}-{h.hexdigest()[:12]}'


def build():
    """The image, from the cache or made now; safe to call from several tests at once."""
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release, debs = fetch(cache)
        final = cache / key(release)
        if not final.exists():
            tmp = Path(tempfile.mkdtemp(dir=cache, prefix='new-'))
            try:
                build_into(tmp, debs, release)
                tmp.chmod(0o755)
                tmp.rename(final)
            finally:
                shutil.rmtree(tmp, ignore_errors=True)
    return Image(release, final / 'vmlinux', final / 'initrd.gz', final / 'lib/modules')


if __name__ == '__main__':
    try:
        print('\n'.join(map(str, build())))
    except Unavailable as e:
        print(f'SKIP: {e}')
        sys.exit(77)
