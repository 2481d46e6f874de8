/**
 * resolv.conf as people have it, and as it changes: resolvers with a zone, files from Windows,
 * short forms, search lists, and another network while `exec` runs.
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { API1_NAME, UPLINK4 } from '../support/addresses.ts';
import { ExecLab } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

/** Another address of the uplink, with a resolver of its own: as that of another network. */
const SECOND4 = '192.0.2.9';
/** The uplink's, on the link to the client. */
const ZONED = 'fe80::1%uplink';
const OPTIONS = 'options timeout:2 attempts:1\n';

const skip =
  labUnavailable('openssl', 'unshare', 'curl', 'getent', 'dnsmasq') || closedToOthers(MAIN);

describe('resolv.conf', { skip }, () => {
  let exec: ExecLab;
  before(async () => {
    exec = await ExecLab.create(`nameserver ${UPLINK4}\n${OPTIONS}`);
    mkdirSync(join(exec.lab.directory, 'state'));
    const { uplink } = exec.lab;
    // At all addresses that the device has by then.
    await serve(UPLINK4, '--interface=client');
    await uplink.configure([`address add ${SECOND4}/24 dev client`]);
    await serve(SECOND4, `--listen-address=${SECOND4}`);
  });
  after(async () => {
    await exec?.close();
  });

  /** `where.lab.test` has the address of the resolver that was asked. */
  async function serve(address: string, listens: string): Promise<void> {
    const child = await exec.lab.uplink.spawn([
      ...['dnsmasq', '--keep-in-foreground', '--no-resolv', '--no-hosts', '--pid-file='],
      ...['--user=root', '--bind-interfaces', '--except-interface=lo', '--log-facility=-'],
      listens,
      `--host-record=where.lab.test,${address},0`,
      ...['test', 'lab', 'example'].map((domain) => `--local=/${domain}/`),
    ]);
    await child.waitForLine(/started/, 10_000);
  }

  /** Root's journal is the lab's. */
  const argv = (...command: readonly string[]) =>
    exec.userArgv(command, {
      root: true,
      script: `mount --bind ${exec.lab.directory}/state /var/lib && exec "$@"`,
    });
  const run = async (script: string) => {
    const { stdout, stderr } = await exec.lab.client.exec(argv('sh', '-c', script), {
      timeout: 30_000,
    });
    return stdout + stderr;
  };
  /** The file is overwritten, or replaced by another one, as NetworkManager does it. */
  const write = (text: string, how: 'overwrite' | 'replace' = 'replace') => {
    const quoted = `'${text.replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t')}'`;
    return run(
      how === 'overwrite'
        ? `printf %b ${quoted} > /etc/resolv.conf`
        : `printf %b ${quoted} > /etc/resolv.new && mv /etc/resolv.new /etc/resolv.conf`,
    );
  };

  async function whileConnected(targets: readonly string[], script: string): Promise<string> {
    const tunnel = await exec.lab.client.spawn(
      argv(process.execPath, MAIN, '-r', REMOTE, ...targets),
    );
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      return (await run(script)) + tunnel.stderr;
    } finally {
      await tunnel.stop('SIGTERM');
    }
  }

  const inExec = async (targets: readonly string[], script: string) =>
    (await exec.exec([...targets, '--', 'sh', '-c', script])).stdout;

  const BOTH = `getent hosts ${API1_NAME}; getent hosts where.lab.test`;
  const BOTH_SAID = /^(198\.18\.|2001:2:)\S+ +api1\.lab\.example\n192\.0\.2\.1 +where\.lab\.test\n/;

  it('a resolver with a zone is asked for all other names', async () => {
    await write(`nameserver ${ZONED}\n${OPTIONS}`);
    assert.match(await inExec(['10.77.0.0/16'], 'getent hosts where.lab.test'), /^192\.0\.2\.1 /);
    assert.match(await inExec([API1_NAME], BOTH), BOTH_SAID);
    const said = await whileConnected([API1_NAME], BOTH);
    assert.match(said, BOTH_SAID);
    assert.match(said, /resolv\.conf is rewritten: programs ask fe80:\S+%uplink, which belongs to/);
  });

  it('lines that end in carriage returns, tabs, comments and short forms', async () => {
    for (const text of [
      `search lab.example\r\nnameserver ${UPLINK4}\r\noptions timeout:2\r\n`,
      `nameserver\t192.0.513 \t# the router\nsearch\tlab.example\n${OPTIONS}`,
    ]) {
      await write(text);
      assert.match(await inExec([API1_NAME], BOTH), BOTH_SAID, text);
      assert.match(await whileConnected([API1_NAME], BOTH), BOTH_SAID, text);
    }
  });

  it('search lists: short names are found in connect as in exec', async () => {
    const script = 'getent hosts api1; getent hosts where; getent hosts api1.lab';
    const said = /^(198\.18\.|2001:2:)\S+ +api1\.lab\.example\n192\.0\.2\.1 +where\.lab\.test\n/;
    for (const [resolver, ndots] of [
      [UPLINK4, 'ndots:1'],
      [ZONED, 'ndots:2'],
    ] as const) {
      const example = ndots === 'ndots:2' ? ' example' : '';
      await write(
        `nameserver ${resolver}\nsearch lab.test lab.example${example}\noptions ${ndots}\n${OPTIONS}`,
      );
      const last = ndots === 'ndots:2' ? /\n(198\.18\.|2001:2:)\S+ +api1\.lab\.example\n/ : said;
      for (const output of [
        await inExec([API1_NAME], script),
        await whileConnected([API1_NAME], script),
      ]) {
        assert.match(output, said, resolver);
        assert.match(output, last, resolver);
      }
    }
  });

  for (const how of ['overwrite', 'replace'] as const)
    for (const [what, targets] of [
      ["asks this machine's resolvers itself", ['192.0.2.8/29', '10.77.0.0/16']],
      ["asks the tunnel's own server", [API1_NAME]],
    ] as const)
      it(`another network (${how}) while exec runs, which ${what}`, async () => {
        await write(`nameserver ${UPLINK4}\n${OPTIONS}`);
        const go = join(exec.home, `go-${how}-${targets.length}`);
        const child = await exec.spawn([
          ...['-v', ...targets, '--', 'sh', '-c'],
          `getent hosts where.lab.test; while [ ! -e ${go} ]; do sleep 0.1; done; getent hosts where.lab.test; getent hosts ${API1_NAME} | cut -c1-5; echo end`,
        ]);
        try {
          await child.waitForLine(/192\.0\.2\.1 .*\n/, 20_000);
          await write(`nameserver ${SECOND4}\n${OPTIONS}`, how);
          await child.waitForLine(/this machine's resolvers are 192\.0\.2\.9 now/, 5_000);
          writeFileSync(go, '');
          await child.waitForLine(/end\n/, 20_000);
          assert.match(child.stdout, /\n192\.0\.2\.9 +where\.lab\.test\n/, child.stderr);
          // Where it is a target, also if the file inside is gone.
          if (targets.length === 1) assert.match(child.stdout, /\n(198\.1|2001:)\nend/);
        } finally {
          await child.stop('SIGTERM');
        }
      });
});
