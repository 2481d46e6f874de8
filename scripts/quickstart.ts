/**
 * The demonstration of ./scripts/quickstart: the main job on real input, in a lab of network
 * namespaces, with each step checked. When a step fails it says why and exits with 1.
 */
import { fileURLToPath } from 'node:url';
import { pseudoRandomDigest } from '../test/support/bytes.ts';
import { hostState } from '../test/support/hoststate.ts';
import { Lab, labUnavailable } from '../test/support/lab.ts';

const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));
const JUMPHOST = 'jump@198.51.100.10';
const NETWORK = '10.77.0.0/16';
const API = 'http://10.77.0.11';
const DOWNLOAD = 100_000_000;

class DemonstrationFailed extends Error {}

const colour = process.stdout.isTTY;
const print = (line: string) => process.stdout.write(`${line}\n`);
const title = (line: string) => print(colour ? `\n\x1b[1m${line}\x1b[0m` : `\n${line}`);
const command = (line: string) => print(`  $ ${line}`);
const output = (text: string) => {
  for (const line of text.trimEnd().split('\n')) print(`    ${line}`);
};

function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new DemonstrationFailed(what);
}

async function demonstrate(lab: Lab): Promise<void> {
  const curl = async (...args: string[]) => {
    command(`curl ${args.join(' ')}`);
    return lab.client.exec(['curl', '-sS', '--max-time', '60', ...args]);
  };

  title('1. An API host that only the jump host can reach');
  const before = await hostState(lab.client.name);
  const without = await curl(`${API}/`);
  output(without.stderr);
  expect(without.status !== 0, 'the API host was reachable without the tunnel');

  title('2. The tunnel');
  command(`tunnel -r ${JUMPHOST} ${NETWORK}`);
  const began = performance.now();
  const tunnel = await lab.client.spawn([MAIN, '-r', JUMPHOST, NETWORK]);
  await tunnel.waitForLine(/tunnel: ready/, 20_000);
  output(tunnel.stderr);
  print(`    (after ${Math.round(performance.now() - began)} ms)`);

  title('3. The real address, from any program');
  const page = await curl(`${API}/`);
  output(page.stdout);
  expect(
    page.stdout.includes('"peer":"10.77.0.1"'),
    `the page did not come through the jump host: ${page.stderr}`,
  );
  print('    (its peer is the jump host: 10.77.0.1)');

  title('4. 100 MB, with its checksum');
  const { sha256, seconds } = await download(lab);
  print(`    sha256 ${sha256}`);
  print(`    correct, ${Math.round(DOWNLOAD / 1e6 / seconds)} MB/s`);

  title('5. A closed port is refused, not "connected"');
  const connect = '</dev/tcp/10.77.0.11/81';
  command(`bash -c '${connect}'`);
  const closed = await lab.client.exec(['bash', '-c', connect]);
  output(closed.stderr);
  expect(closed.stderr.includes('Connection refused'), 'the closed port was not refused');

  title('6. Stop: nothing is left');
  command('kill -INT %tunnel');
  const { status } = await tunnel.stop('SIGINT');
  expect(status === 0, `the tunnel ended with ${status}`);
  const after = await hostState(lab.client.name);
  expect(after === before, 'the network settings differ from before');
  print(
    '    devices, addresses, routes, rules, firewall and resolv.conf are byte for byte as before',
  );
}

async function download(lab: Lab): Promise<{ sha256: string; seconds: number }> {
  const url = `${API}/bytes/${DOWNLOAD}?seed=quickstart`;
  command(`curl ${url} | sha256sum`);
  const begin = performance.now();
  const result = await lab.client.exec(['sh', '-c', `curl -sS '${url}' | sha256sum`], {
    timeout: 120_000,
  });
  const seconds = (performance.now() - begin) / 1000;
  const sha256 = result.stdout.split(' ')[0] ?? '';
  expect(
    sha256 === pseudoRandomDigest(DOWNLOAD, 'quickstart'),
    `the bytes are wrong: ${sha256} ${result.stderr}`,
  );
  return { sha256, seconds };
}

const unavailable = labUnavailable();
if (unavailable !== false) {
  process.stderr.write(`the demonstration can't run here: ${unavailable}\n`);
  process.exit(1);
}
const lab = await Lab.create({ sshd: 'open' });
try {
  await demonstrate(lab);
  title('With your own jump host');
  print('  ./tunnel -r you@jumphost 10.0.0.0/8');
} catch (error) {
  if (!(error instanceof DemonstrationFailed)) throw error;
  process.stderr.write(`\nthis did not work: ${error.message}\n`);
  process.exitCode = 1;
} finally {
  await lab.close();
}
