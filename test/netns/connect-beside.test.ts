/** Two `tunnel connect` with names beside each other: each answers for its own, in every order. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { API1, API1_NAME, API2, API2_NAME, UPLINK4 } from '../support/addresses.ts';
import { labUnavailable } from '../support/lab.ts';
import { createNamesLab, type NamesLab, RESOLV_CONF, WWW } from '../support/nameslab.ts';
import type { Child } from '../support/process.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const TOOLS = ['openssl', 'unshare', 'curl', 'getent', 'dig', 'dnsmasq', 'tcpdump'] as const;
const FAST = 'options timeout:1 attempts:1\n';
const PEER = /"peer"/;

/** Names of the first tunnel and of the second, a name of this machine's. */
const ONE = API1_NAME;
const TWO = API2_NAME;
const OTHER = 'direct.lab.example';

const ENDS = [
  ['the first, then the second', 0, 'SIGTERM'],
  ['the second, then the first', 1, 'SIGTERM'],
  ['the first is killed', 0, 'SIGKILL'],
  ['the second is killed', 1, 'SIGKILL'],
] as const;

class Beside {
  readonly names: NamesLab;
  readonly #script: string;

  private constructor(names: NamesLab) {
    this.names = names;
    // Root's journal is the lab's.
    this.#script = `mount --bind ${names.exec.lab.directory}/state /var/lib && exec "$@"`;
  }

  static async create(resolvConf: string): Promise<Beside> {
    const names = await createNamesLab(resolvConf);
    mkdirSync(join(names.exec.lab.directory, 'state'));
    return new Beside(names);
  }

  argv(command: readonly string[], before = ''): string[] {
    const script = before === '' ? this.#script : `${before} && ${this.#script}`;
    return this.names.exec.userArgv(command, { root: true, script });
  }

  async start(...args: readonly string[]): Promise<Child> {
    const { client } = this.names.exec.lab;
    const child = await client.spawn(this.argv([process.execPath, MAIN, '-r', REMOTE, ...args]));
    await child.waitForLine(/tunnel: ready\n/, 20_000);
    return child;
  }

  /** Output and errors of a script on the client. */
  async run(script: string, before = ''): Promise<string> {
    const { client } = this.names.exec.lab;
    const { stdout, stderr } = await client.exec(this.argv(['sh', '-c', script], before), {
      timeout: 30_000,
    });
    return stdout + stderr;
  }

  async reaches(name: string): Promise<void> {
    assert.match(await this.run(`curl -sS --max-time 8 http://${name}/`), PEER, name);
  }

  async resolves(name: string): Promise<string> {
    return (await this.run(`getent ahostsv4 ${name} | head -1`)).replace(/\s.*/s, '');
  }
}

for (const [how, resolvConf] of [
  ['a resolver on the network', RESOLV_CONF],
  ['a resolver on this machine', `nameserver 127.0.0.1\n${FAST}`],
] as const) {
  const isLocal = how.endsWith('this machine');
  describe(`two tunnels with names, where programs ask ${how}`, {
    skip: labUnavailable(...TOOLS),
  }, () => {
    let beside: Beside;
    let running: Child[] = [];
    before(async () => {
      beside = await Beside.create(resolvConf);
      // What programs ask is a proxy of the lab's own resolver.
      if (isLocal) {
        const { client } = beside.names.exec.lab;
        await client.exec(['ip', 'link', 'set', 'lo', 'up']);
        await client.spawn([
          ...['dnsmasq', '--keep-in-foreground', '--no-resolv', '--no-hosts', '--no-daemon'],
          ...['--conf-file=/dev/null', '--bind-interfaces', '--listen-address=127.0.0.1'],
          ...['--pid-file=', '--cache-size=0', `--server=${UPLINK4}`],
        ]);
      }
    });
    afterEach(async () => {
      for (const child of running) await child.stop('SIGKILL').catch(() => {});
      running = [];
      await beside?.run(`${process.execPath} ${MAIN} clean`);
    });
    after(async () => {
      await beside?.names.close();
    });

    const startBoth = async (
      first: readonly string[] = [ONE],
      second: readonly string[] = [TWO],
    ) => {
      running.push(await beside.start(...first));
      running.push(await beside.start(...second));
      return running;
    };

    for (const [order, ends, signal] of ENDS) {
      it(`each answers for its own names; ${order}`, async () => {
        const tunnels = await startBoth();
        await beside.reaches(ONE);
        await beside.reaches(TWO);
        if (!isLocal) assert.equal(await beside.resolves(OTHER), UPLINK4);
        const { client } = beside.names.exec.lab;
        const uplink = await client.capture('uplink', 'port 53');
        const [stays, left] = ends === 0 ? [TWO, ONE] : [ONE, TWO];
        const asking = await client.spawn(
          beside.argv(['sh', '-c', `while :; do getent hosts ${stays}; done`]),
        );
        await tunnels[ends]?.stop(signal);
        await beside.reaches(stays);
        assert.match(await beside.resolves(stays), /^198\.18\./);
        // Its names are this machine's again.
        assert.equal(await beside.resolves(left), '');
        assert.equal(
          await beside.resolves(OTHER),
          isLocal ? await beside.resolves(OTHER) : UPLINK4,
        );
        if (signal === 'SIGKILL') {
          const cleaned = await beside.run(`${process.execPath} ${MAIN} clean`);
          if (isLocal) assert.match(cleaned, /stays as it is for another tunnel/);
          await beside.reaches(stays);
        }
        await asking.stop();
        const asked = (await uplink.stop()).filter(({ summary }) => summary.includes(stays));
        assert.deepEqual(asked, [], 'no query for its names has left');
        await tunnels[1 - ends]?.stop('SIGTERM');
        assert.equal(await beside.resolves(stays), '');
        const text = await beside.run('cat /etc/resolv.conf; ip route show proto 116');
        assert.equal(text, resolvConf);
      });
    }

    it('a third takes the place of the first', async () => {
      const [first] = await startBoth();
      await first?.stop('SIGKILL');
      const third = await beside.start(ONE);
      running.push(third);
      await beside.reaches(ONE);
      await beside.reaches(TWO);
      // It has the device and the block of the first, but the second one, which runs, is asked.
      const asked = isLocal ? '198.18.63.53' : UPLINK4;
      assert.match(await beside.run('ip -br address show tun0'), / 198\.18\.0\.1\//);
      assert.match(await beside.run(`ip route get ${asked}`), /dev tun1 /);
      third.kill('SIGSTOP');
      try {
        await beside.reaches(TWO);
      } finally {
        third.kill('SIGCONT');
      }
    });

    it('the closer suffix wins, whichever started first', async () => {
      for (const [first, second] of [
        [['*.example'], [WWW]],
        [[WWW], ['*.example']],
      ] as const) {
        await startBoth(first, second);
        const narrow = running[first[0] === WWW ? 0 : 1];
        await beside.reaches(WWW);
        await beside.reaches(ONE);
        // Only the wide one is left: it answers for all of them again.
        await narrow?.stop('SIGTERM');
        await beside.reaches(WWW);
        for (const child of running) await child.stop('SIGTERM').catch(() => {});
        running = [];
      }
    });

    it('the same name and two --dns are refused, by name; reverse names find their tunnel', async () => {
      const [first] = await startBoth([ONE, '*.corp.example'], [TWO]);
      const refused = (args: string) =>
        beside.run(`${process.execPath} ${MAIN} -r ${REMOTE} ${args} 2>&1; echo $?`);
      assert.match(
        await refused(`'*.corp.example' other.example`),
        /\[already-running\]: another tunnel, tun0, already answers for \*\.corp\.example\n.*\n7\n$/s,
      );
      for (const name of [ONE, TWO]) {
        const address = await beside.resolves(name);
        assert.equal(await beside.run(`dig +short -x ${address}`), `${name}.\n`);
      }
      await first?.stop('SIGTERM');
      running.push(await beside.start('--dns-server', API1, ONE));
      assert.match(
        await refused(`--dns-server ${API1} other.example`),
        /already answers for all names\n/,
      );
      await beside.reaches(TWO);
    });

    it('beside a tunnel without names; and one that is stopped is named', async () => {
      const [first] = await startBoth([API2], [ONE]);
      await beside.reaches(API2);
      await beside.reaches(ONE);
      first?.kill('SIGSTOP');
      try {
        assert.match(
          await beside.run(`${process.execPath} ${MAIN} -r ${REMOTE} ${TWO} 2>&1; echo $?`),
          /\[already-running\]: the tunnel of tun0 doesn't say which names are its own\n.*\n7\n$/s,
        );
      } finally {
        first?.kill('SIGCONT');
      }
      await beside.reaches(ONE);
    });

    it('exec finds the names of both, with its own and without', async () => {
      await startBoth();
      const exec = (targets: string, name: string) =>
        beside.run(
          `${process.execPath} ${MAIN} exec -r ${REMOTE} ${targets} -- curl -4sS --max-time 8 http://${name}/`,
        );
      assert.match(await exec('203.0.113.0/24', ONE), PEER);
      assert.match(await exec('203.0.113.0/24', TWO), PEER);
      assert.match(await exec(ONE, ONE), PEER);
    });
  });
}

describe('a name target that /etc/hosts has as well', { skip: labUnavailable(...TOOLS) }, () => {
  let beside: Beside;
  before(async () => {
    beside = await Beside.create(RESOLV_CONF);
  });
  after(async () => {
    await beside?.names.close();
  });

  it('is told once, at the start and when the file changes', async () => {
    const hosts = join(beside.names.exec.lab.directory, 'hosts');
    writeFileSync(hosts, `192.0.2.77 ${ONE}\n`);
    const { client } = beside.names.exec.lab;
    const bind = `cp ${hosts} /etc/hosts`;
    const child = await client.spawn(
      beside.argv([process.execPath, MAIN, '-r', REMOTE, ONE, '*.corp.example'], bind),
    );
    await child.waitForLine(/tunnel: ready\n/, 20_000);
    assert.match(
      child.stderr,
      /warning: \/etc\/hosts has api1\.lab\.example \(192\.0\.2\.77\): .*past/,
    );
    // The copy of /etc is the same for all that see it.
    await beside.run(`echo "192.0.2.78 ${WWW}" >> /etc/hosts`);
    await child.waitForLine(/\/etc\/hosts has www\.corp\.example \(192\.0\.2\.78\)/, 10_000);
    assert.equal(child.stderr.match(/api1\.lab\.example \(/g)?.length, 1);
    await child.stop('SIGTERM');
  });
});
