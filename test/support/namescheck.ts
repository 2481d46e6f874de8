/**
 * Checks names with a real TUN device and this machine's own clients. Started by
 * test/netns/names-captured.test.ts as root in a network and mount namespace of its own, where
 * resolv.conf names a resolver that only a route into the device leads to. In place of the
 * transport stands one that answers each connection with the destination it was opened for.
 *
 * Ends with status 0, or says what was wrong.
 */
import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { TunCapture } from '../../src/capture/tun/tun.ts';
import { createNames, type Names } from '../../src/dns/server/names.ts';
import { CapturedQueries } from '../../src/dns/server/queries.ts';
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

/** Says where it was opened to, and ends. */
function speak(destination: Destination): Duplex {
  opened.push(formatDestination(destination));
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, callback) => callback() });
  stream.push(`${formatDestination(destination)}\n`);
  stream.push(null);
  return stream;
}

await mustRun(['ip', '-batch', '-'], { input: 'link set lo up\n' });
const { signal } = new AbortController();
const host = await startHelper({ observer, signal });
const served = new Set<string>();
const targets = [parsePrefix('10.0.0.0/8').prefix, ...RESOLVERS.map(hostPrefix)];
const nameTargets = [{ pattern: parseNamePattern('*.corp.example'), ports: [] }];
let names: Names | undefined;
let queries: CapturedQueries | undefined;
const capture = new TunCapture({
  host,
  prefixes: targets,
  observer,
  served,
  onDatagram(datagram) {
    if (queries?.acceptDatagram(datagram) !== true) capture.refuseDatagram(datagram, 'refused');
  },
});
const flows = new Flows({
  policy: createPolicy({ targets: [], exclusions: [], nameTargets }),
  tunnel: { connect: async (destination) => new StreamConduit(speak(destination)) },
  direct: { connect: () => Promise.reject(new Error('nothing goes directly here')) },
  resolve: () => Promise.reject(new Error('no name is resolved here')),
  observer,
});
try {
  await capture.start((request) => {
    if (queries?.accept(request) === true) return;
    if (names === undefined) request.refuse('refused');
    else names.translate((translated) => flows.accept(translated))(request);
  }, signal);
  names = createNames({
    naming: {
      nameTargets: nameTargets.map(({ pattern }) => pattern),
      nameExclusions: [],
      domains: ['nowhere.example'],
      beyond: 'local',
    },
    device: { address4: '198.18.0.1', address6: '2001:2::1' },
    servers: [],
    connect: async (destination) => speak(destination),
    local: [],
    connectDirectly: async (destination) => speak(destination),
    observer,
  });
  for (const address of names.addresses) served.add(address);
  queries = new CapturedQueries({
    server: names.server,
    own: names.addresses,
    resolvers: new Set(RESOLVERS),
    sendDatagram: (datagram) => capture.sendDatagram(datagram),
    refuseDatagram: (datagram, refusal) => capture.refuseDatagram(datagram, refusal),
    observer,
  });
  await capture.setPrefixes([...targets, ...names.prefixes]);

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
  // Beyond the names: an address that stands for none, another UDP port of the resolver, a name
  // that is nobody's.
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
