/**
 * Checks ResolvedLink against a real systemd-resolved on a separate D-Bus.
 * test/netns/resolved.test.ts starts it in separate namespaces (network, mounts), with an empty
 * /run, a user systemd-resolve, and the daemon's directory as its argument. A veth device stands
 * for the TUN; the DNS server listens behind it.
 *
 * Exits with 0, or prints what was wrong.
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { silentObserver } from '../../src/observe/observer.ts';
import { runCommand } from '../../src/system/programs/command.ts';
import { planResolver } from '../../src/system/resolver/detect.ts';
import { readResolverFacts } from '../../src/system/resolver/facts.ts';
import { ResolvedLink } from '../../src/system/resolver/resolved.ts';
import { Child, mustRun, type RunOptions, run } from './process.ts';
import { BUS_CONFIGURATION } from './resolveddaemon.ts';

const FRONT = fileURLToPath(new URL('./dnsfront.js', import.meta.url));
const SERVER = '198.18.0.53';

const [, , resolved = '', resolvectl = '', directory = ''] = process.argv;
const children: Child[] = [];
// The tested daemon may be unpacked, not installed.
const runHere = (program: string, args: readonly string[]) =>
  runCommand(program === 'resolvectl' ? resolvectl : program, args);

async function start(argv: readonly string[]): Promise<Child> {
  const child = await Child.start(argv, { stdin: 'open' });
  children.push(child);
  return child;
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 10_000; !(await condition()); await sleep(50))
    assert.ok(performance.now() < deadline, what);
}

const settings = async () => (await runHere('resolvectl', ['status', 'tun0'])).stdout;
const options: RunOptions = { timeout: 10_000 };
const ask = async (name: string) =>
  (
    await run(
      ['dig', '@127.0.0.53', '+time=3', '+tries=1', '+noall', '+answer', '+comments', name],
      options,
    )
  ).stdout;
/** systemd-resolved answers as soon as its name is on the bus. */
const startResolved = async () => {
  const daemon = await start([resolved]);
  await until(
    'systemd-resolved answers',
    async () => (await runHere('resolvectl', ['dns'])).status === 0,
  );
  return daemon;
};

try {
  mkdirSync('/run/dbus');
  mkdirSync('/run/systemd/resolve', { recursive: true });
  await mustRun(['chown', 'systemd-resolve:', '/run/systemd/resolve']);
  writeFileSync(join(directory, 'bus.conf'), BUS_CONFIGURATION);
  await mustRun(['ip', '-batch', '-'], {
    input: `link set lo up
link add tun0 type veth peer name far0
addr add 198.18.0.1/24 dev tun0
addr add ${SERVER}/24 dev far0
link set far0 up
link set tun0 up
`,
  });
  await start([
    'dbus-daemon',
    `--config-file=${join(directory, 'bus.conf')}`,
    '--nofork',
    '--nopidfile',
  ]);
  let daemon = await startResolved();
  const front = await start([
    process.execPath,
    FRONT,
    JSON.stringify({
      host: SERVER,
      port: 53,
      servers: [],
      nameTargets: ['*.corp.example'],
      domains: ['x'],
      local: [],
    }),
  ]);
  await front.waitForLine(/ready\n/);

  writeFileSync('/etc/resolv.conf', 'nameserver 127.0.0.53\n');
  assert.deepEqual(planResolver(readResolverFacts()).steps, [{ kind: 'resolved' }]);

  const link = new ResolvedLink({
    device: 'tun0',
    servers: [SERVER],
    domains: ['corp.example'],
    observer: silentObserver,
    run: runHere,
    runElevated: runHere,
  });
  await link.apply();
  const applied = await settings();
  assert.match(applied, /-DefaultRoute -LLMNR -mDNS -DNSOverTLS DNSSEC=no/);
  assert.match(applied, /DNS Servers: 198\.18\.0\.53/);
  assert.match(applied, /DNS Domain: ~corp\.example/);
  assert.match(await ask('www.corp.example'), /\sA\s+198\.18\./);
  // Other names have no server, and the tunnel's isn't asked for them.
  assert.match(await ask('www.example.org'), /status: (SERVFAIL|REFUSED)/);

  link.watch();
  daemon.kill('SIGKILL');
  await daemon.wait(5000);
  daemon = await startResolved();
  await until('the settings are there after a restart', async () =>
    (await settings()).includes(SERVER),
  );
  assert.match(await ask('again.corp.example'), /\sA\s+198\.18\./);

  await mustRun([resolvectl, 'revert', 'tun0']);
  await until('forgotten settings are made again', async () =>
    (await settings()).includes('~corp.example'),
  );

  await link.undo();
  assert.doesNotMatch(await settings(), /198\.18\.0\.53/);
  await link.undo();

  const all = new ResolvedLink({
    device: 'tun0',
    servers: [SERVER],
    domains: ['.'],
    observer: silentObserver,
    run: runHere,
    runElevated: runHere,
  });
  await all.apply();
  assert.match(await settings(), /\+DefaultRoute[\s\S]*DNS Domain: ~\./);
  await mustRun(['ip', 'link', 'del', 'tun0']);
  await until(
    'the settings go with the device',
    async () => !(await runHere('resolvectl', ['dns'])).stdout.includes(SERVER),
  );
  await all.undo();

  const absent = new ResolvedLink({
    device: 'tun9',
    servers: [SERVER],
    domains: ['.'],
    observer: silentObserver,
    run: runHere,
    runElevated: runHere,
  });
  await assert.rejects(absent.apply(), { code: 'dns-resolved' });
} finally {
  for (const child of children.reverse()) await child.stop('SIGKILL');
}
