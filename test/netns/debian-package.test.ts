/**
 * The life of the Debian package that scripts/deb builds, in roots of Debian's releases without
 * systemd: it is installed, used by an ordinary user against the lab's jump host, upgraded,
 * downgraded and purged beside a running tunnel, removed and installed again. Debian 12 has an
 * older Node: there the package is refused, until a newer one is installed. That for arm64 is
 * unpacked, and runs by qemu-user.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { API1, Port, PRIVATE4 } from '../support/addresses.ts';
import {
  ALICE,
  ARCHITECTURE,
  addAlice,
  nodeOfRelease,
  nodePackage,
  PACKAGE,
  packageAs,
  packageFile,
  packageMissing,
  packageName,
} from '../support/debianpackage.ts';
import { DebianRoot, rootMissing } from '../support/debianroot.ts';
import { linksOutOf } from '../support/documents.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { ARM64, MACHINES } from '../support/machines.ts';
import { type Child, mustRun } from '../support/process.ts';
import { REMOTE } from '../support/tunnel.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const HELPER_BY_SUDO = 'ALL=(root) NOPASSWD: /usr/libexec/tunnel-helper';
const READY_MS = 30_000;
/** In qemu-user. */
const EMULATED_MS = 60_000;
/** A build takes half a minute of one processor. */
const BUILD_TIMEOUT_MS = 300_000;
/** Bytes of a download that goes on while the package is upgraded, at a rate for half a minute. */
const LONG_BYTES = 30_000_000;
const SLOWLY = ['--limit-rate', '1M'];
/** dpkg would ask what to do about a conffile that both sides have changed. */
const KEEP_EDITED = ['-o', 'Dpkg::Options::=--force-confold'];

const deb = packageFile();

let directory = '';
/** The next version. */
let newer = '';
/** This Node as Debian's package. */
let nodejs = '';

before(() => {
  if (packageMissing() !== false || labUnavailable() !== false) return;
  directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
  newer = packageAs('99.0.0', directory, (tree) =>
    appendFileSync(join(tree, 'etc/tunnel/helper.conf'), '# of the new version\n'),
  );
  nodejs = nodePackage(directory);
});
after(() => {
  if (directory !== '') rmSync(directory, { recursive: true });
});

/** Every file of a root, except what apt and dpkg write about themselves, and accounts. */
const LIST = `
find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /home \\
  -o -path /root -o -path /var/cache/debconf -o -path /var/cache/apt -o -path /var/lib/apt -o -path /var/log/apt \\) -prune \\
  -o ! -path /var/log/dpkg.log ! -name '*-old' -printf '%p %y %m %u:%g %l\\n' | sort
find /etc -type f ! -name 'passwd*' ! -name 'group*' ! -name '*shadow*' ! -name 'sub[ug]id*' \\
  -exec md5sum {} + | sort
`;

const fetched = ['curl', '-sS', '--max-time', '20', `http://${API1}/`];

for (const { release, ownNode, appArmor } of [
  { release: 'trixie', ownNode: true, appArmor: 4 },
  { release: 'bookworm', ownNode: false, appArmor: 3 },
  // Of Ubuntu: only where apt has its archive.
  { release: 'noble', ownNode: false, appArmor: 4 },
]) {
  describe(`the package in ${release}`, {
    skip:
      labUnavailable('nsenter', 'dpkg-deb') ||
      rootMissing(`package-${release}`) ||
      packageMissing() ||
      (!ownNode && nodeOfRelease),
    timeout: 600_000,
  }, () => {
    let lab: Lab;
    let root: DebianRoot;
    let clean = '';
    let untouched = '';
    let tunnel: Child;

    const install = (file: string, ...options: readonly string[]) => {
      root.copy(file, '/tmp/package.deb');
      // What it depends on is there: nothing is downloaded.
      const argv = ['apt-get', 'install', '-y', '--no-install-recommends', ...options];
      return root.exec([...argv, '/tmp/package.deb']);
    };
    const fetchesByTunnel = async () =>
      assert.match((await root.exec(fetched)).stdout, /"host":"api1"/);
    const download = () =>
      root.spawn([
        ...['curl', '-sS', ...SLOWLY, '-o', '/dev/null', '-w', '%{size_download}'],
        `http://${API1}:${Port.http}/bytes/${LONG_BYTES}`,
      ]);
    const isWhole = async (long: Child) => {
      await long.wait(120_000);
      assert.equal(long.stdout, String(LONG_BYTES), long.stderr);
    };
    const captures = async () => {
      const child = await root.spawn(['tunnel', 'connect', '-r', REMOTE, PRIVATE4], {
        user: ALICE,
      });
      await child.waitForLine(/tunnel: ready\n/, READY_MS);
      await fetchesByTunnel();
      return child;
    };

    before(async () => {
      lab = await Lab.create();
      root = await DebianRoot.start(lab.client, `package-${release}`, join(lab.directory, release));
      await addAlice(root, lab, HELPER_BY_SUDO);
    });
    after(async () => {
      await root?.close();
      await lab?.close();
    });

    it('is refused where Node is too old, by name', {
      skip: ownNode && 'its Node is new enough',
    }, async () => {
      const { status, stdout, stderr } = await install(deb);
      assert.notEqual(status, 0);
      assert.match(stdout + stderr, /tunnel-vpn : Depends: nodejs \(>= 20\.19\)/);
      root.copy(nodejs, '/tmp/nodejs.deb');
      await root.script('dpkg --install /tmp/nodejs.deb');
    });

    it("is installed, and what it has is root's", async () => {
      clean = await root.script(LIST);
      untouched = await lab.client.hostState();
      const { status, stderr } = await install(deb);
      assert.deepEqual([status, stderr.replace(/^debconf: .*\n/gm, '')], [0, '']);
      assert.equal(await root.script('dpkg --audit'), '');
      assert.match(await root.script('tunnel --version', { user: ALICE }), /^\d+\.\d+\.\d+/);
      const helpers = 'stat -c "%a %U %G" /usr/libexec/tunnel-helper /usr/libexec/tunnel-launcher';
      assert.equal(await root.script(helpers), '755 root root\n755 root root\n');
      const writable = `dpkg -L ${PACKAGE} | xargs stat -c '%A %U %n' | grep -v '^l' | grep -v '^[^ ]*r-x root\\|^-rw-r--r-- root' || true`;
      assert.equal(await root.script(writable), '');
      const linked = '/etc/systemd/system/sockets.target.wants/tunnel-helper.socket';
      await root.script(`getent group tunnel && test -L ${linked}`);
      await root.script('apt-get check -qq');
    });

    it('has units that name what it has installed', async () => {
      const units = await root.script(
        'cat /usr/lib/systemd/system/tunnel* /usr/lib/systemd/user/tunnel* 2>/dev/null || true',
      );
      const programs = [...units.matchAll(/^Exec\w+=(\S+)/gm)].map(([, program]) => program);
      assert.ok(programs.includes('/usr/libexec/tunnel-helper'));
      for (const program of programs) await root.script(`test -x ${program}`);
    });

    it(`has a profile that AppArmor ${appArmor} reads, or doesn't see`, async () => {
      const profile = '/etc/apparmor.d/tunnel-exec';
      const link = await root.exec(['readlink', '/etc/apparmor.d/disable/tunnel-exec']);
      assert.equal(link.stdout, appArmor < 4 ? '../tunnel-exec\n' : '');
      if (appArmor < 4) return;
      await root.script(`apparmor_parser --skip-kernel-load --skip-cache ${profile}`);
    });

    it('has manual pages and completions', async () => {
      await root.script('zcat /usr/share/man/man1/tunnel.1.gz | grep -q "^.TH TUNNEL 1"');
      const bash = '. /usr/share/bash-completion/completions/tunnel && complete -p tunnel';
      assert.match(await root.script(`bash -ec '${bash}'`), /_tunnel tunnel/);
      const others = await root.script(
        'cat /usr/share/zsh/vendor-completions/_tunnel /usr/share/fish/vendor_completions.d/tunnel.fish',
      );
      assert.match(others, /\/usr\/bin\/tunnel __complete/);
    });

    it('runs a command in a network of its own, without root', async () => {
      const argv = ['tunnel', 'exec', '--isolate', '-r', REMOTE, PRIVATE4, '--', ...fetched];
      const { status, stdout, stderr } = await root.exec(argv, { user: ALICE });
      assert.equal(status, 0, stderr);
      assert.match(stdout, /"host":"api1"/);
    });

    it('is a proxy, without root', async () => {
      const proxy = await root.spawn(
        ['tunnel', 'proxy', '-r', REMOTE, '--socks', '127.0.0.1:1080'],
        { user: ALICE },
      );
      await proxy.waitForLine(/tunnel: ready\n/, READY_MS);
      const argv = [...fetched, '-x', 'socks5h://127.0.0.1:1080'];
      const { stdout, stderr } = await root.exec(argv, { user: ALICE });
      assert.match(stdout, /"host":"api1"/, stderr);
      await root.script('tunnel stop', { user: ALICE });
      assert.equal((await proxy.exited).status, 0);
    });

    it('captures, by the helper in /usr/libexec and sudo', async () => {
      tunnel = await captures();
      const helper = await root.script('readlink /proc/$(pgrep -x tunnel-helper | head -n 1)/exe');
      assert.equal(helper, '/usr/libexec/tunnel-helper\n');
    });

    it('is upgraded beside the running tunnel, whose connections and rules stay', async () => {
      await root.script('echo "# of the administrator" >>/etc/tunnel/helper.conf');
      const before = await processes(root);
      const long = await download();
      const { status, stderr } = await install(newer, ...KEEP_EDITED);
      assert.equal(status, 0, stderr);
      assert.equal(await root.script('tunnel --version'), '99.0.0\n');
      assert.deepEqual(await processes(root), before);
      await fetchesByTunnel();
      assert.match(root.read('/etc/tunnel/helper.conf'), /# of the administrator\n$/);
      assert.match(root.read('/etc/tunnel/helper.conf.dpkg-dist'), /# of the new version\n$/);

      const shown = await root.script('tunnel status --json', { user: ALICE });
      assert.equal(JSON.parse(shown).tunnels.length, 1);
      await isWhole(long);
      await root.script('tunnel reconnect', { user: ALICE });
      await fetchesByTunnel();
      await root.script('tunnel stop', { user: ALICE });
      assert.equal((await tunnel.exited).status, 0);
    });

    it('is downgraded beside a running tunnel', async () => {
      tunnel = await captures();
      const before = await processes(root);
      const { status, stderr } = await install(deb, '--allow-downgrades', ...KEEP_EDITED);
      assert.equal(status, 0, stderr);
      assert.notEqual(await root.script('tunnel --version'), '99.0.0\n');
      assert.deepEqual(await processes(root), before);
      assert.match(root.read('/etc/tunnel/helper.conf'), /# of the administrator\n$/);
      await root.script('tunnel reconnect', { user: ALICE });
      await fetchesByTunnel();
      await root.script('tunnel stop', { user: ALICE });
      assert.equal((await tunnel.exited).status, 0);
    });

    it('keeps what the administrator has written when it is removed and installed again', async () => {
      const rules = root.read('/etc/tunnel/helper.conf');
      await root.script(`apt-get remove -qq ${PACKAGE}`);
      await root.script('! command -v tunnel');
      assert.equal(root.read('/etc/tunnel/helper.conf'), rules);
      const { status, stderr } = await install(deb);
      assert.equal(status, 0, stderr);
      assert.equal(root.read('/etc/tunnel/helper.conf'), rules);
      // A file that the administrator has removed stays away.
      await root.script('rm /etc/tunnel/helper.conf');
      assert.equal((await install(deb, '--reinstall')).status, 0);
      await root.script('test ! -e /etc/tunnel/helper.conf');
      tunnel = await captures();
    });

    it('is purged beside a running tunnel, which goes on until it is ended', async () => {
      const before = await processes(root);
      const long = await download();
      await root.script(`apt-get purge -qq ${PACKAGE}`);
      await root.script('test ! -e /usr/lib/tunnel-vpn');
      assert.deepEqual(await processes(root), before);
      await fetchesByTunnel();
      await isWhole(long);
      await lab.sshd.dropConnections();
      await fetchesByTunnel();
      await root.script(`pkill -INT -u ${ALICE} -x node`);
      assert.equal((await tunnel.wait(READY_MS)).status, 0, tunnel.stderr);
      assert.equal(await lab.client.hostState(), untouched);
      assert.deepEqual((await root.script(LIST)).split('\n'), clean.split('\n'));
    });

    it('is removed and purged without a trace, except for its group', async () => {
      assert.equal((await install(deb)).status, 0);
      await root.script(`apt-get remove -qq ${PACKAGE}`);
      await root.script('test -e /etc/tunnel/helper.conf && ! command -v tunnel');
      await root.script('mkdir -p /var/log/tunnel /var/lib/tunnel-service/.ssh');
      await root.script(`apt-get purge -qq ${PACKAGE}`);
      assert.deepEqual((await root.script(LIST)).split('\n'), clean.split('\n'));
      await root.script('getent group tunnel');
    });
  });
}

/** The processes of tunnels, by name and id. */
async function processes(root: DebianRoot): Promise<string[]> {
  const text = await root.script("ps -eo pid,comm | grep -E 'node|tunnel'");
  return text.split('\n').sort();
}

const arm64 = MACHINES.find(({ platform }) => platform === 'linux-arm64');
/** The root from which it is installed into another. */
const OUTSIDE = 'package-trixie';

/** ARM's number among processors, and where an ELF file has it (elf(5)). */
const EM_AARCH64 = 183;
const ELF_MACHINE_OFFSET = 18;

describe('the package for arm64', {
  skip:
    labUnavailable('curl', 'dpkg-deb') ||
    (arm64?.missing ?? 'not known') ||
    packageMissing('arm64'),
  timeout: 300_000,
}, () => {
  let lab: Lab;
  let tree = '';

  before(async () => {
    lab = await Lab.create();
    tree = join(lab.directory, 'arm64');
    execFileSync('dpkg-deb', ['--extract', packageFile('arm64'), tree]);
  });
  after(() => lab?.close());

  /** /usr/bin/node is the only thing that isn't there. */
  const onArm64 = (...words: string[]): string[] => {
    const program = join(tree, 'usr/lib', PACKAGE, 'dist/program/main.cjs');
    const installed = { prefix: tree, home: lab.clientHome, scratch: lab.directory };
    return arm64?.on(['node', program, ...words], installed) ?? [];
  };

  it('has files for arm64, which run', async () => {
    const files = readdirSync(tree, { recursive: true, encoding: 'utf8', withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name)))
      .filter((content) => content.toString('latin1', 0, 4) === '\x7fELF');
    assert.ok(files.length >= 7, String(files.length));
    for (const file of files) assert.equal(file.readUInt16LE(ELF_MACHINE_OFFSET), EM_AARCH64);
    for (const [program, usage] of [
      ['tunnel-helper', /^tunnel-helper: usage: /],
      ['tunnel-launcher', /^tunnel-launcher: only /],
    ] as const) {
      const argv = [...ARM64, join(tree, 'usr/libexec', program)];
      const { stdout, stderr } = await lab.client.exec(argv);
      assert.match(stdout + stderr, usage);
    }
  });

  it('is installed into a root from outside, where no program of it can run', {
    skip: rootMissing(OUTSIDE),
  }, async () => {
    const root = await DebianRoot.start(lab.client, OUTSIDE, join(lab.directory, OUTSIDE));
    try {
      root.copy(packageFile('arm64'), '/tmp/arm64.deb');
      const before = await root.script(LIST);
      const dpkg = 'dpkg --root=/tmp/target --force-script-chrootless --force-depends';
      await root.script(`mkdir -p /tmp/target/var/lib/dpkg/info /tmp/target/var/lib/dpkg/updates
        touch /tmp/target/var/lib/dpkg/status /tmp/target/var/lib/dpkg/available
        dpkg --root=/tmp/target --add-architecture arm64
        ${dpkg} --install /tmp/arm64.deb`);
      const shown = await root.script(`dpkg-query --root=/tmp/target --status ${PACKAGE}:arm64`);
      assert.match(shown, /^Status: install ok installed$/m);
      await root.script(`cd /tmp/target && grep ^tunnel: etc/group etc/passwd
        test -L etc/systemd/system/sockets.target.wants/tunnel-helper.socket
        install -d var/log/tunnel var/lib/tunnel-service var/lib/tunnel/journal
        touch var/lib/tunnel/journal/1-0.json
        mkdir -p etc/systemd/system/multi-user.target.wants
        ln -s /usr/lib/systemd/system/tunnel@.service \\
          etc/systemd/system/multi-user.target.wants/tunnel@web.service
        ${dpkg} --purge ${PACKAGE}:arm64`);
      const left = await root.script(
        "cd /tmp/target && find . -name '*tunnel*' ! -path './var/lib/dpkg/*'",
      );
      assert.equal(left, '');
      assert.equal(await root.script(LIST), before);
    } finally {
      await root.close();
    }
  });

  it('is a proxy', async () => {
    const words = ['proxy', '-r', REMOTE, '--socks', '127.0.0.1:1080', PRIVATE4];
    const tunnel = await lab.client.spawn(onArm64(...words));
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, EMULATED_MS);
      assert.doesNotMatch(tunnel.stderr, /large transfers are slow/, 'it has its addon');
      const argv = [...fetched, '-x', 'socks5h://127.0.0.1:1080'];
      assert.match((await lab.client.exec(argv)).stdout, /"host":"api1"/);
      assert.equal((await tunnel.stop('SIGINT', EMULATED_MS)).status, 0, tunnel.stderr);
    } finally {
      await tunnel.stop('SIGKILL');
    }
  });
});

describe('the package', { skip: packageMissing(), timeout: 600_000 }, () => {
  for (const release of ['trixie', 'bookworm']) {
    const archive = `lintian-${release}`;
    it(`is without a fault that the lintian of Debian's ${release} knows`, {
      skip: labUnavailable('nsenter') || rootMissing(archive),
    }, async () => {
      const lab = await Lab.create();
      let root: DebianRoot | undefined;
      try {
        root = await DebianRoot.start(lab.client, archive, join(lab.directory, archive));
        root.copy(deb, `/tmp/${packageName()}`);
        const argv = [
          'lintian',
          '--allow-root',
          '--fail-on',
          'error,warning',
          `/tmp/${packageName()}`,
        ];
        const { status, stdout, stderr } = await root.exec(argv);
        assert.deepEqual([status, stdout + stderr], [0, '']);
      } finally {
        await root?.close();
        await lab.close();
      }
    });
  }

  it('has the documents, whose links lead to what it has', () => {
    const tree = join(directory, 'documents');
    execFileSync('dpkg-deb', ['--extract', deb, tree]);
    const documents = join(tree, 'usr/share/doc', PACKAGE);
    const files = readdirSync(documents, { recursive: true, encoding: 'utf8' });
    assert.ok(files.includes('docs/usage.md'));
    assert.deepEqual(
      linksOutOf(files, (page) => readFileSync(join(documents, page), 'utf8')),
      [],
    );
  });

  it('is the same, octet by octet, whoever builds it', async () => {
    const into = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    try {
      const script = 'umask 077 && exec "$0"';
      await mustRun(['sh', '-c', script, join(ROOT, 'scripts/deb'), ARCHITECTURE], {
        env: { ...cleanEnvironment(), OUT: into, TZ: 'Pacific/Chatham' },
        timeout: BUILD_TIMEOUT_MS,
      });
      const [again = ''] = readdirSync(into);
      assert.equal(again, packageName());
      assert.ok(readFileSync(join(into, again)).equals(readFileSync(deb)));
    } finally {
      rmSync(into, { recursive: true });
    }
  });
});

function cleanEnvironment(): Record<string, string> {
  const kept = ['PATH', 'HOME', 'DEBFULLNAME', 'DEBEMAIL'];
  return Object.fromEntries(
    kept.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}
