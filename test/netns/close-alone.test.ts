/**
 * A server that ends a channel with CHANNEL_CLOSE alone, without EOF: every byte before it is
 * delivered, at any pace of the reader, and then the stream ends; data that the application still
 * sends are answered with a reset.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { API1, API1_6, JUMPHOST4, Port, PRIVATE4, PRIVATE6 } from '../support/addresses.ts';
import { pseudoRandomDigest } from '../support/bytes.ts';
import { JUMP_USER } from '../support/credentials.ts';
import type { EndReport } from '../support/endreader.ts';
import { ExecLab } from '../support/execlab.ts';
import { goProgram, goProgramMissing } from '../support/goprograms.ts';
import { labUnavailable } from '../support/lab.ts';
import type { Child, ExecResult } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN, startTunnel } from '../support/tunnel.ts';

const CLOSING_SERVER = fileURLToPath(new URL('../support/closingserver.js', import.meta.url));
const END_READER = fileURLToPath(new URL('../support/endreader.js', import.meta.url));
/** The lab's known_hosts has the jump host's keys for this port, too. */
const PORT = 2222;
const GLIDER_PORT = 2223;
const REMOTE = `${JUMP_USER}@${JUMPHOST4}:${PORT}`;
const SIZE = 5_000_000;
const LARGE = 100_000_000;
const STOP_MS = 1000;
const TIMEOUT_MS = 40_000;

/** How curl reads, and the pipe between it and the digest. */
const PACES = {
  fast: ['', 'cat'],
  slow: ['--limit-rate 2M', 'cat'],
  stopped: ['', '{ head -c 1000000; sleep 1; cat; }'],
} as const;
type Pace = keyof typeof PACES;

interface Way {
  /** For curl. */
  readonly options: string;
  /** For endreader.ts. */
  readonly reader: string;
}
const CAPTURED: Way = { options: '', reader: 'direct' };

/** A command line for sh that prints the digest of what curl gets, and then curl's status. */
function fetch(way: Way, pace: Pace, host = API1, size = SIZE): string {
  const [options, filter] = PACES[pace];
  const url = `http://${host}/bytes/${size}?seed=close`;
  const curl = `curl -gsS -H 'Connection: close' --max-time 30 ${way.options} ${options} '${url}'`;
  return `{ ${curl}; echo "curl ended with $?" >&2; } | ${filter} | sha256sum`;
}

function read(way: Way, pauseMs: number): string {
  const args = [way.reader, API1, Port.http, `/bytes/${SIZE}?seed=close`, pauseMs];
  return [process.execPath, END_READER, ...args].map((word) => `'${word}'`).join(' ');
}

type Run = (command: string) => Promise<ExecResult>;

async function arrives(run: Run, command: string, what: string, size = SIZE): Promise<void> {
  const { stdout, stderr } = await run(command);
  assert.equal(stderr, 'curl ended with 0\n', what);
  assert.equal(stdout.split(' ')[0], pseudoRandomDigest(size, 'close'), what);
}

async function ends(run: Run, way: Way, pauseMs: number): Promise<void> {
  const { stdout, stderr } = await run(read(way, pauseMs));
  assert.notEqual(stdout, '', stderr);
  const { bytes, sha256, end, after } = JSON.parse(stdout) as EndReport;
  const what = `after a pause of ${pauseMs} ms`;
  assert.deepEqual(
    { bytes, end, sha256 },
    { bytes: SIZE, end: 'end', sha256: pseudoRandomDigest(SIZE, 'close') },
    what,
  );
  assert.match(after, /^(ECONNRESET|EPIPE)$/, what);
}

/** All paces at once, and how it ends: the results don't depend on each other. */
async function check(run: Run, way: Way): Promise<void> {
  const all = [
    ...(Object.keys(PACES) as Pace[]).map((pace) => arrives(run, fetch(way, pace), pace)),
    ends(run, way, 0),
    ends(run, way, STOP_MS),
  ];
  const failures = (await Promise.allSettled(all)).flatMap((result) =>
    result.status === 'rejected' ? [result.reason] : [],
  );
  assert.deepEqual(failures.map(String), []);
}

describe('a server that ends channels with CLOSE alone', {
  skip: labUnavailable('curl') || closedToOthers(MAIN),
  timeout: 180_000,
}, () => {
  let exec: ExecLab;
  let authorizedKeys: string;
  let server: Child;
  const running: Child[] = [];

  before(async () => {
    exec = await ExecLab.create(undefined, { sshd: { ports: [22, GLIDER_PORT] } });
    // We only needed the lab's known_hosts entries for that port.
    await exec.lab.sshd.restart({});
    const { directory, jumphost, credentials } = exec.lab;
    authorizedKeys = join(directory, 'closing-authorized-keys');
    writeFileSync(authorizedKeys, credentials.authorizedKeys);
    server = await jumphost.spawn(
      [process.execPath, CLOSING_SERVER, String(PORT), authorizedKeys, ...credentials.hostKeys],
      { stdin: 'open' },
    );
    running.push(server);
    await server.waitForLine(/ready\n/);
  });
  after(async () => {
    for (const child of running.reverse()) await child.stop('SIGKILL');
    await exec?.close();
  });

  const inClient: Run = (command) =>
    exec.lab.client.exec(['sh', '-c', command], { timeout: TIMEOUT_MS });
  const inCommand =
    (...options: readonly string[]): Run =>
    (command) =>
      exec.exec(['-p', String(PORT), ...options, PRIVATE4, '--', 'sh', '-c', command], {
        timeout: TIMEOUT_MS,
      });

  async function startProxy(transport: string): Promise<[child: Child, port: string]> {
    const child = await exec.lab.client.spawn([
      ...[process.execPath, MAIN, 'proxy', '-r', REMOTE],
      ...['--transport', transport, '--listen', '127.0.0.1:0'],
    ]);
    running.push(child);
    const [, port = ''] = await child.waitForLine(/proxy at \S+:(\d+)/, 20_000);
    await child.waitForLine(/tunnel: ready\n/, 20_000);
    return [child, port];
  }

  for (const transport of ['ssh2', 'openssh']) {
    it(`delivers everything, then ends, for connect (${transport})`, async () => {
      const tunnel = await startTunnel(
        exec.lab.client,
        ['--transport', transport, PRIVATE4, PRIVATE6],
        REMOTE,
      );
      try {
        await check(inClient, CAPTURED);
        await arrives(inClient, fetch(CAPTURED, 'stopped', `[${API1_6}]`), 'IPv6');
      } finally {
        await tunnel.stop('SIGINT');
      }
    });

    it(`delivers everything, then ends, for exec (${transport})`, () =>
      check(inCommand('--transport', transport), CAPTURED));

    it(`delivers everything, then ends, for SOCKS, CONNECT and plain HTTP (${transport})`, async () => {
      const [child, port] = await startProxy(transport);
      const ways: Readonly<Record<string, Way>> = {
        socks: { options: `-x socks5://127.0.0.1:${port}`, reader: `socks:${port}` },
        connect: { options: `-px http://127.0.0.1:${port}`, reader: `connect:${port}` },
        http: { options: `-x http://127.0.0.1:${port}`, reader: `http:${port}` },
      };
      try {
        const results = await Promise.allSettled(
          Object.values(ways).map((way) => check(inClient, way)),
        );
        const failures = Object.keys(ways).flatMap((name, at) => {
          const result = results[at];
          return result?.status === 'rejected' ? [`${name}: ${result.reason}`] : [];
        });
        assert.deepEqual(failures, []);
      } finally {
        await child.stop('SIGINT');
      }
    });
  }

  it('delivers 100 MB', async () => {
    const tunnel = await startTunnel(exec.lab.client, [PRIVATE4], REMOTE);
    try {
      const paces = ['fast', 'stopped'] as const;
      await Promise.all(
        paces.map((pace) => arrives(inClient, fetch(CAPTURED, pace, API1, LARGE), pace, LARGE)),
      );
    } finally {
      await tunnel.stop('SIGINT');
    }
  });

  it('really sent no EOF', async () => {
    server.write('\n');
    const [, eof, close] = await server.waitForLine(/sent (\d+) (\d+)\n/);
    assert.equal(eof, '0');
    assert.ok(Number(close) > 10, `${close} CLOSEs`);
  });

  it('a real one, gliderlabs/ssh', { skip: goProgramMissing('gliderserver') }, async () => {
    const { jumphost, credentials, client } = exec.lab;
    const [hostKey = ''] = credentials.hostKeys;
    const glider = await jumphost.spawn([
      goProgram('gliderserver'),
      String(GLIDER_PORT),
      authorizedKeys,
      hostKey,
    ]);
    running.push(glider);
    await glider.waitForLine(/ready\n/);
    const tunnel = await startTunnel(
      client,
      [PRIVATE4],
      `${JUMP_USER}@${JUMPHOST4}:${GLIDER_PORT}`,
    );
    try {
      await check(inClient, CAPTURED);
    } finally {
      await tunnel.stop('SIGINT');
    }
  });
});
