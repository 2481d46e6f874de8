/**
 * The peers that are measured side by side: how each is started in the lab, and where the load then
 * connects.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { API1, JUMPHOST4, PRIVATE4 } from '../../test/support/addresses.ts';
import type { Lab } from '../../test/support/lab.ts';
import type { Child } from '../../test/support/process.ts';
import { programCommand, REMOTE } from '../../test/support/tunnel.ts';

/**
 * All peers use this cipher: this program prefers it on processors with AES, and it is OpenSSH's
 * fastest.
 */
const CIPHER = 'aes128-gcm@openssh.com';
/** The port of the load generator's server, in api1 and in the jump host. */
export const LOAD_PORT = 7100;
const FORWARDED_PORT = 7101;
const SOCKS_PORT = 7102;
const OWN_SOCKS_PORT = 7103;
/** The first and the last port. */
export const PORTS = [LOAD_PORT, OWN_SOCKS_PORT] as const;
const START_TIMEOUT_MS = 30_000;
const POLL_MS = 20;
const WAITING_COMMAND = /^pid (\d+)\n/;

/** Where the load connects to, in the client's namespace. */
export interface Route {
  readonly host: string;
  readonly port: number;
  readonly socksPort?: number;
  /** The jump host's own server answers, not api1's. */
  readonly atJumphost?: boolean;
}

export interface Peer {
  readonly name: string;
  readonly route: Route;
  /**
   * Resolves when it carries traffic, with undefined if there is nothing to start. `nodeOptions`
   * are for this program alone.
   */
  readonly start: (lab: Lab, nodeOptions?: readonly string[]) => Promise<Child | undefined>;
  /** This program, which can be profiled. */
  readonly own?: true;
  /**
   * The beginning of the load's command line, when it runs outside the client's own network.
   */
  readonly enter?: (child: Child) => readonly string[];
}

export function sshCommand(lab: Lab): string[] {
  return ['ssh', '-F', lab.credentials.sshConfig, '-c', CIPHER];
}

export const tunnel: Peer = tunnelWith();

/** With more options. */
export function tunnelWith(...options: readonly string[]): Peer {
  return {
    name: 'tunnel',
    route: { host: API1, port: LOAD_PORT },
    own: true,
    async start(lab, nodeOptions = []) {
      const command = [...programCommand(nodeOptions), '-r', REMOTE, PRIVATE4];
      const child = await lab.client.spawn([...command, ...options]);
      await child.waitForLine(/tunnel: ready\n/, START_TIMEOUT_MS);
      return child;
    },
  };
}

/** Runs a command that waits; the load then runs in that command's network. */
export const tunnelExec: Peer = {
  name: 'tunnel exec',
  route: { host: API1, port: LOAD_PORT },
  own: true,
  async start(lab, nodeOptions = []) {
    const command = ['sh', '-c', 'echo "pid $$"; exec cat'];
    const program = [...programCommand(nodeOptions), 'exec', '-r', REMOTE, PRIVATE4];
    const child = await lab.client.spawn([...program, '--', ...command], { stdin: 'open' });
    await child.waitForLine(WAITING_COMMAND, START_TIMEOUT_MS);
    return child;
  },
  enter({ stdout }) {
    const [, pid] = WAITING_COMMAND.exec(stdout) ?? [];
    if (pid === undefined) throw new Error(`tunnel exec runs no command: ${stdout}`);
    return ['nsenter', '--target', pid, '--net', '--'];
  },
};

export const tunnelSocks: Peer = {
  name: 'tunnel proxy',
  route: { host: API1, port: LOAD_PORT, socksPort: OWN_SOCKS_PORT },
  own: true,
  async start(lab, nodeOptions = []) {
    const command = ['proxy', '-r', REMOTE, '--socks', `127.0.0.1:${OWN_SOCKS_PORT}`];
    const child = await lab.client.spawn([...programCommand(nodeOptions), ...command]);
    await child.waitForLine(/tunnel: ready/, START_TIMEOUT_MS);
    return child;
  },
};

export const sshForward: Peer = {
  name: 'ssh -L',
  route: { host: '127.0.0.1', port: FORWARDED_PORT },
  start(lab) {
    const forward = `127.0.0.1:${FORWARDED_PORT}:${API1}:${LOAD_PORT}`;
    return startSsh(lab, ['-L', forward], FORWARDED_PORT);
  },
};

export const sshSocks: Peer = {
  name: 'ssh -D',
  route: { host: API1, port: LOAD_PORT, socksPort: SOCKS_PORT },
  start: (lab) => startSsh(lab, ['-D', `127.0.0.1:${SOCKS_PORT}`], SOCKS_PORT),
};

export const sshuttle: Peer = {
  name: 'sshuttle',
  route: { host: API1, port: LOAD_PORT },
  async start(lab) {
    const ssh = sshCommand(lab).join(' ');
    const child = await lab.client.spawn([
      ...['sshuttle', '--method', 'nft', '-e', ssh, '-r', REMOTE, PRIVATE4],
    ]);
    await child.waitForLine(/Connected to server/, START_TIMEOUT_MS);
    return child;
  },
};

/** A connection to the jump host itself: the most that the link carries. */
export const rawTcp: Peer = {
  name: 'raw TCP',
  route: { host: JUMPHOST4, port: LOAD_PORT, atJumphost: true },
  start: async () => undefined,
};

async function startSsh(lab: Lab, forward: readonly string[], port: number): Promise<Child> {
  const child = await lab.client.spawn([...sshCommand(lab), '-N', ...forward, REMOTE]);
  for (
    const until = performance.now() + START_TIMEOUT_MS;
    performance.now() < until;
    await sleep(POLL_MS)
  ) {
    const { stdout } = await lab.client.exec(['ss', '-Hltn', `sport = :${port}`]);
    if (stdout.trim() !== '') return child;
    if (child.ended !== undefined) break;
  }
  throw new Error(`ssh ${forward.join(' ')} doesn't listen: ${child.stderr}`);
}
