/** How the system's ssh is told to dial, and the program that dials for it, on loopback. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { DIAL_PATH } from '../../../../src/native/addon.ts';
import {
  boundDialOptions,
  canBeBound,
  departuresTo,
} from '../../../../src/ssh/openssh/bounddial.ts';
import { testSettings } from '../../../support/settings.ts';

const V4 = { host: '10.1.2.3', port: 22 };
const V4_TOO = { host: '10.1.2.4', port: 22 };
const V6 = { host: '2001:db8::1', port: 2222, localAddress: '2001:db8::9' };

describe('departuresTo', () => {
  it('leaves the dial to ssh where nothing is captured', () => {
    assert.equal(departuresTo([V4, V6], undefined), undefined);
    assert.equal(
      departuresTo([V4, V6], () => undefined),
      undefined,
    );
    assert.equal(
      departuresTo([], () => 'eth0'),
      undefined,
    );
  });

  it('names the device of each, alternates families, and leaves out what has none', () => {
    const deviceFor = ({ host }: { host: string }) =>
      ({ [V4.host]: 'eth0', [V6.host]: undefined })[host] ?? null;
    const all = ({ host }: { host: string }) => (host === V6.host ? undefined : 'eth0');
    assert.deepEqual(departuresTo([V4, V4_TOO, V6], all), [
      { ...V4, device: 'eth0' },
      { ...V6, device: undefined },
      { ...V4_TOO, device: 'eth0' },
    ]);
    assert.deepEqual(departuresTo([V4, V4_TOO], deviceFor), [{ ...V4, device: 'eth0' }]);
    assert.throws(() => departuresTo([V4_TOO], () => null), { code: 'jumphost-unreachable' });
  });
});

describe('canBeBound', () => {
  it('needs a name for the first hop that nothing else on the way has', () => {
    const named = (name: string, port: number) => ({
      ...testSettings({ hostName: name, port }),
      name,
    });
    const through = (...names: string[]) => ({
      ...named('end', 22),
      proxy: { kind: 'jump', hops: names.map((name, i) => named(name, 2200 + i)) } as const,
    });
    assert.ok(canBeBound(named('end', 22)));
    assert.ok(canBeBound(through('a', 'b')));
    assert.ok(!canBeBound(through('a', 'a')));
    assert.ok(!canBeBound(through('end', 'b')));
  });
});

describe('boundDialOptions', () => {
  it('are words that no shell takes apart, and in which ssh finds no tokens', () => {
    const departures = [
      { ...V4, device: 'wg%0;x' },
      { host: 'fe80::1%eth0', port: 22, device: undefined },
      { ...V6, device: 'e1' },
    ];
    const options = boundDialOptions(departures, 14.2);
    const namespace = statSync('/proc/self/ns/net').ino;
    const path = DIAL_PATH.replaceAll('%', '%%');
    assert.deepEqual(options, [
      [
        'ProxyCommand',
        `'${path}' '${namespace}' '15' 'wg%%0;x' '-' '10.1.2.3' '22' '-' '-' 'fe80::1%%eth0' '22' 'e1' '2001:db8::9' '2001:db8::1' '2222'`,
      ],
      ['ProxyUseFdpass', 'yes'],
    ]);
    assert.throws(() => boundDialOptions([{ ...V4, device: "e'0" }], 1), { code: 'usage' });
  });
});

describe('tunnel-dial', { timeout: 60_000 }, () => {
  let server: Server;
  let port: string;
  let closed: string;
  const peers: (string | undefined)[] = [];
  before(async () => {
    server = createServer((socket) => {
      peers.push(socket.remoteAddress);
      socket.on('error', () => {}); // the other end is reset
      socket.end();
    }).listen(0, '127.0.0.1');
    const other = createServer().listen(0, '127.0.0.1');
    await Promise.all([once(server, 'listening'), once(other, 'listening')]);
    port = String((server.address() as AddressInfo).port);
    closed = String((other.address() as AddressInfo).port);
    other.close();
  });
  after(() => server.close());

  const here = String(statSync('/proc/self/ns/net').ino);

  /** Its standard output is a Unix socket, as ssh's is: Node makes its pipes of these. */
  async function run(...words: string[]) {
    const child = spawn(DIAL_PATH, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    let passed = 0;
    let stderr = '';
    child.stdout.on('data', (bytes: Buffer) => {
      passed += bytes.length;
    });
    child.stderr.on('data', (bytes: Buffer) => {
      stderr += bytes.toString();
    });
    const [status] = await once(child, 'close');
    return { status, passed, stderr };
  }

  it('passes the first connection on that it gets', async () => {
    const nobody = ['lo', '-', '127.0.0.1', closed];
    const somebody = ['lo', '127.0.0.7', '127.0.0.1', port];
    const { status, passed, stderr } = await run(here, '5', ...nobody, ...somebody);
    assert.deepEqual({ status, passed }, { status: 0, passed: 1 });
    assert.equal(stderr, `tunnel-dial: connected to 127.0.0.1 port ${port}\n`);
    assert.equal(peers.at(-1), '127.0.0.7');
  });

  it("says in ssh's words why there is none", async () => {
    const { status, passed, stderr } = await run(
      here,
      '5',
      ...['lo', '-', '127.0.0.1', closed],
      ...['missing0', '-', '127.0.0.1', port],
      ...['-', '192.0.2.99', '127.0.0.1', port],
    );
    assert.deepEqual({ status, passed }, { status: 1, passed: 0 });
    assert.deepEqual(stderr.split('\n'), [
      `tunnel-dial: connect to host 127.0.0.1 port ${closed}: Connection refused`,
      `tunnel-dial: connect to host 127.0.0.1 port ${port}: No such device`,
      `tunnel-dial: connect to host 127.0.0.1 port ${port}: Cannot assign requested address`,
      '',
    ]);
  });

  it('binds nothing in another network namespace', async () => {
    const { status } = await run('1', '5', 'missing0', '-', '127.0.0.1', port);
    assert.equal(status, 0);
  });

  it('gives up in time, and when ssh has gone', async () => {
    // Bound to the loopback device, SYNs to elsewhere get no answer.
    const silent = ['lo', '-', '192.0.2.1', '22'];
    const began = performance.now();
    const { status, stderr } = await run(here, '1', ...silent);
    assert.equal(status, 1);
    assert.match(stderr, /connect to host 192\.0\.2\.1 port 22: /);
    assert.ok(performance.now() - began < 5_000);
    const child = spawn(DIAL_PATH, [here, '50', ...silent], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stderr.resume();
    child.stdout.destroy();
    const [code] = await once(child, 'exit');
    assert.equal(code, 1);
  });

  it('takes nothing else', async () => {
    for (const words of [
      [],
      [here, '5'],
      [here, '0', 'lo', '-', '127.0.0.1', port],
      [here, '5x', 'lo', '-', '127.0.0.1', port],
      [here, '5', 'lo', '-', '127.0.0.1'],
      [here, '5', ...Array.from({ length: 65 }, () => ['lo', '-', '127.0.0.1', port]).flat()],
    ])
      assert.equal((await run(...words)).status, 2, words.slice(0, 6).join(' '));
    const { stderr } = await run(here, '5', 'lo', '-', 'localhost', port);
    assert.match(stderr, /connect to host localhost port \d+: Invalid argument/);
  });
});
