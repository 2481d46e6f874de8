/** What is measured side by side: how each is started in the lab, and where its traffic goes. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../test/support/lab.ts';

const IPERF_PORT = 5201;
const FORWARDED_PORT = 5299;
/** All peers encrypt with it; it is the one that this program and OpenSSH both run fastest with. */
const CIPHER = 'aes128-gcm@openssh.com';
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));
const NETWORK = '10.77.0.0/16';
const SERVER = '10.77.0.11';
const JUMPHOST = '198.51.100.10';
const START_TIMEOUT_MS = 30_000;

export interface Running {
  stop(): Promise<void>;
}

export interface Peer {
  readonly name: string;
  start(lab: Lab): Promise<Running>;
  /** Where a client in the client namespace connects to. */
  target(lab: Lab): { host: string; port: number };
}

const tunnel: Peer = {
  name: 'tunnel',
  async start(lab) {
    const child = await lab.client.spawn([MAIN, '-r', `jump@${JUMPHOST}`, NETWORK], {});
    await child.waitForLine(/tunnel: ready/, START_TIMEOUT_MS);
    return { stop: async () => void (await child.stop('SIGTERM')) };
  },
  target: () => ({ host: SERVER, port: IPERF_PORT }),
};

const sshForward: Peer = {
  name: 'ssh -L',
  async start(lab) {
    const forward = `127.0.0.1:${FORWARDED_PORT}:${SERVER}:${IPERF_PORT}`;
    const child = await lab.client.spawn([
      'ssh',
      '-F',
      lab.credentials.sshConfig,
      '-c',
      CIPHER,
      '-N',
      '-L',
      forward,
      `jump@${JUMPHOST}`,
    ]);
    await listening(lab, FORWARDED_PORT);
    return { stop: async () => void (await child.stop('SIGTERM')) };
  },
  target: () => ({ host: '127.0.0.1', port: FORWARDED_PORT }),
};

const sshuttle: Peer = {
  name: 'sshuttle',
  async start(lab) {
    const ssh = `ssh -F ${lab.credentials.sshConfig} -c ${CIPHER}`;
    const child = await lab.client.spawn([
      'sshuttle',
      '--method',
      'nft',
      '-e',
      ssh,
      '-r',
      `jump@${JUMPHOST}`,
      NETWORK,
    ]);
    await child.waitForLine(/Connected to server/, START_TIMEOUT_MS);
    return { stop: async () => void (await child.stop('SIGTERM')) };
  },
  target: () => ({ host: SERVER, port: IPERF_PORT }),
};

/** One TCP connection to the jump host itself: what the link gives. */
const raw: Peer = {
  name: 'raw TCP',
  async start(lab) {
    const child = await lab.jumphost.spawn(['iperf3', '-s', '-p', String(IPERF_PORT), '--forceflush']);
    await child.waitForLine(/listening/, START_TIMEOUT_MS);
    return { stop: async () => void (await child.stop('SIGTERM')) };
  },
  target: () => ({ host: JUMPHOST, port: IPERF_PORT }),
};

export const peers: readonly Peer[] = [tunnel, sshForward, sshuttle, raw];

async function listening(lab: Lab, port: number): Promise<void> {
  const until = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < until) {
    const { stdout } = await lab.client.exec(['ss', '-Hltn', `sport = :${port}`]);
    if (stdout.trim() !== '') return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing listens on port ${port} after ${START_TIMEOUT_MS} ms`);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export async function versions(): Promise<Record<string, string>> {
  const first = (file: string, args: string[], pattern: RegExp) => {
    const output = execFileSync('sh', ['-c', `"$0" "$@" 2>&1`, file, ...args], { encoding: 'utf8' });
    return pattern.exec(output)?.[1] ?? output.trim();
  };
  return {
    Node: process.version.slice(1),
    OpenSSH: first('ssh', ['-V'], /OpenSSH_(\S+)/),
    sshuttle: first('sshuttle', ['--version'], /(\S+)\s*$/),
    iperf3: first('iperf3', ['--version'], /iperf (\S+)/),
  };
}
