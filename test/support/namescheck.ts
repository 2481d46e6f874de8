/**
 * Checks names with a real TUN device and this machine's own clients. Started by
 * test/netns/names-captured.test.ts as root in a separate network and mount namespace, where
 * resolv.conf names a resolver that is reached only by a route into the device. A stand-in for the
 * transport answers each connection with the destination that it was opened for.
 *
 * Exits with 0, or prints what was wrong.
 */
import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { linuxTunHost } from '../../src/capture/tun/linuxtun.ts';
import { TunCapture } from '../../src/capture/tun/tun.ts';
import { NameService } from '../../src/dns/server/nameservice.ts';
import { CapturedQueries } from '../../src/dns/server/queries.ts';
import { NameBook } from '../../src/dns/upstream/known.ts';
import { Flows } from '../../src/flow/flows.ts';
import { StreamConduit } from '../../src/flow/streamconduit.ts';
import { type Destination, formatDestination } from '../../src/net/destination.ts';
import { parseNamePattern } from '../../src/net/name.ts';
import { hostPrefix, parsePrefix } from '../../src/net/prefix.ts';
import { silentObserver } from '../../src/observe/observer.ts';
import { createPolicy } from '../../src/policy/policy.ts';
import { startHelper } from '../../src/system/helper/helper.ts';
import { mustRun, run } from './process.ts';

const RESOLVERS = ['203.0.113.53', '2001:db8:53::53'];
const observer = silentObserver;
const opened: string[] = [];

/** Sends the destination that it was opened for, and ends. */
function speak(destination: Destination): Duplex {
  opened.push(formatDestination(destination));
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, callback) => callback() });
  stream.push(`${formatDestination(destination)}\n`);
  stream.push(null);
  return stream;
}

await mustRun(['ip', '-batch', '-'], { input: 'link set lo up\n' });
const { signal } = new AbortController();
const capture = new TunCapture(linuxTunHost(await startHelper({ observer, signal })), observer);
const targets = [parsePrefix('10.0.0.0/8').prefix, ...RESOLVERS.map(hostPrefix)];
const nameTargets = [{ pattern: parseNamePattern('*.corp.example'), ports: [] }];
const flows = new Flows({
  policy: createPolicy({ targets: [], exclusions: [], nameTargets }),
  tunnel: { connect: async (destination) => new StreamConduit(speak(destination)) },
  direct: { connect: () => Promise.reject(new Error('nothing goes directly here')) },
  resolve: () => Promise.reject(new Error('no name is resolved here')),
  observer,
});
let names: NameService | undefined;
try {
  const device = await capture.prepare(new Set([4, 6]), signal);
  names = new NameService({
    naming: {
      nameTargets: nameTargets.map(({ pattern }) => pattern),
      nameExclusions: [],
      domains: ['nowhere.example'],
      beyond: 'local',
    },
    device,
    behind: undefined,
    local: [],
    connectDirectly: async (destination) => speak(destination),
    book: new NameBook({ observer }),
    observer,
  });
  const queries = new CapturedQueries({
    server: names.server,
    own: names.addresses,
    resolvers: new Set(RESOLVERS),
    capture,
    observer,
  });
  const named = names.translate((request) => flows.accept(request));
  await capture.start(
    {
      accept(request) {
        if (!queries.accept(request)) named(request);
      },
      onDatagram(datagram) {
        if (!queries.acceptDatagram(datagram)) capture.refuseDatagram(datagram, 'refused');
      },
      prefixes: targets,
      alsoRouted: names.prefixes,
      served: names.addresses,
    },
    signal,
  );

  const { stdout: addresses } = await run(['getent', 'ahosts', 'www.corp.example']);
  assert.match(addresses, /^198\.18\./m);
  assert.match(addresses, /^2001:2:0:8000::/m);
  for (const server of [...RESOLVERS, ...names.addresses]) {
    for (const way of ['+notcp', '+tcp']) {
      const { stdout } = await run([
        'dig',
        `@${server}`,
        way,
        '+short',
        '+time=3',
        '+tries=1',
        'www.corp.example',
        'A',
      ]);
      assert.match(stdout, /^198\.18\.\d+\.\d+\n$/, `${server} ${way}`);
    }
  }
  for (const family of ['-4', '-6']) {
    const { stdout, stderr } = await run([
      'ncat',
      family,
      '--recv-only',
      '-w',
      '5',
      'www.corp.example',
      '443',
    ]);
    assert.equal(stdout, 'www.corp.example:443\n', stderr);
  }
  assert.deepEqual(opened, Array(2).fill('www.corp.example:443'));
  // Besides names: an address that stands for none, another UDP port of the resolver, a name that
  // nobody knows.
  const unknown = await run(['ncat', '--recv-only', '-w', '5', '198.18.65.1', '443']);
  assert.match(unknown.stderr, /No route to host|unreachable/i);
  const other = await run([
    'dig',
    `@${RESOLVERS[0]}`,
    '-p',
    '5353',
    '+time=3',
    '+tries=1',
    'www.corp.example',
  ]);
  assert.match(other.stdout, /connection refused/);
  assert.match((await run(['dig', 'www.example.org'])).stdout, /status: REFUSED/);
} finally {
  await capture.close();
  names?.close();
}
