/**
 * The whole program with a jump host on the loopback device, and servers that it leads to: what the
 * tests of forwards, nc, metrics and status share. The program has a home and a runtime directory
 * of its own, and its jump host permits nothing but forwarding.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Status } from '../../src/control/status.ts';
import { LoopbackSshd } from './loopback-sshd.ts';
import { Child, type ExecResult, type RunOptions, run, type SpawnOptions } from './process.ts';
import { MAIN } from './tunnel.ts';

/** For the program to start, or to answer, on a busy machine. */
export const START_MS = 30_000;
const MIB = 1024 * 1024;

export class LoopbackLab {
  readonly sshd: LoopbackSshd;
  /** The program's home. */
  readonly directory: string;
  /** The environment of the program. */
  readonly env: Readonly<Record<string, string>>;
  readonly #hostKey: string;
  readonly #servers: Server[] = [];
  #children: Child[] = [];

  private constructor(sshd: LoopbackSshd, hostKey: string, env: Readonly<Record<string, string>>) {
    this.sshd = sshd;
    this.#hostKey = hostKey;
    this.directory = mkdtempSync(join(tmpdir(), 'tunnel-lab-'));
    this.env = {
      PATH: process.env['PATH'] ?? '',
      HOME: this.directory,
      RUNTIME_DIRECTORY: this.directory,
      ...env,
    };
  }

  /** `env`: more of the program's environment. */
  static async open(env: Readonly<Record<string, string>> = {}): Promise<LoopbackLab> {
    const sshd = await LoopbackSshd.start({ config: ['MaxSessions 0'] });
    const line = await sshd.knownHostsLine();
    return new LoopbackLab(sshd, line.trim().split(' ').slice(1).join(' '), env);
  }

  async close(): Promise<void> {
    await this.endAll();
    for (const server of this.#servers) server.close();
    await this.sshd.stop();
    rmSync(this.directory, { recursive: true });
  }

  /** Ends what has been started. */
  async endAll(): Promise<void> {
    const children = this.#children;
    this.#children = [];
    for (const child of children) await child.stop('SIGTERM').catch(() => child.kill('SIGKILL'));
  }

  /** A path in the program's home. */
  path(name: string): string {
    return join(this.directory, name);
  }

  /** An ssh_config with these lines, for -F. */
  configured(lines: readonly string[]): readonly string[] {
    const file = this.path('ssh_config');
    writeFileSync(file, [...lines, ''].join('\n'), { mode: 0o600 });
    return ['-F', file];
  }

  /** A line that uses the jump host. Without an -F it reads no ssh_config. */
  words(command: string, ...args: readonly (string | number)[]): string[] {
    const remote = ['-r', `${this.sshd.user}@127.0.0.1:${this.sshd.port}`];
    const ssh = ['-i', this.sshd.userKey, '--host-key', this.#hostKey];
    const files = args.includes('-F') ? [] : ['-F', 'none'];
    return [process.execPath, MAIN, command, ...remote, ...ssh, ...files, ...args.map(String)];
  }

  /** Starts a program without a terminal. */
  async begin(words: readonly string[], options: SpawnOptions = {}): Promise<Child> {
    const child = await Child.start(['setsid', ...words], { env: this.env, ...options });
    this.#children.push(child);
    return child;
  }

  /** Starts a tunnel, and waits until it is ready. */
  async start(command: string, ...args: readonly (string | number)[]): Promise<Child> {
    const child = await this.begin(this.words(command, ...args));
    await child.waitForLine(/tunnel: ready\n/, START_MS);
    return child;
  }

  /** Runs a line to its end, without a terminal. */
  run(words: readonly string[], options: RunOptions = {}): Promise<ExecResult> {
    return run(['setsid', '--wait', ...words], { env: this.env, timeout: START_MS, ...options });
  }

  /** `tunnel`, beside one that runs. */
  tunnel(...args: readonly string[]): Promise<ExecResult> {
    return run([process.execPath, MAIN, ...args], { env: this.env, timeout: START_MS });
  }

  /** `name`: or the process id. */
  async status(name: string | number): Promise<Status> {
    const { stdout, stderr } = await this.tunnel('status', String(name), '--json');
    const [status] = (JSON.parse(stdout) as { tunnels: Status[] }).tunnels;
    assert.ok(status !== undefined, stderr);
    return status;
  }

  /** A server on a free port, until the lab is closed; the port. */
  async serve(server: Server): Promise<number> {
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return portOf(server);
  }

  /** Sends back what it gets. */
  echo(): Promise<number> {
    return this.serve(createServer((socket) => socket.on('error', () => {}).pipe(socket)));
  }

  /** Reads all, and answers with its digest when it has ended. */
  digests(): Promise<number> {
    return this.serve(
      createServer({ allowHalfOpen: true }, (socket) => digest(socket, (text) => socket.end(text))),
    );
  }
}

/** The port of the proxy of a tunnel that is ready. */
export function proxyPort({ stderr }: Child): number {
  return Number(/proxy at 127\.0\.0\.1:(\d+)/.exec(stderr)?.[1]);
}

/** The ports of `forwarding 127.0.0.1:PORT -> ...`, in order. */
export function forwardPorts({ stderr }: Child): number[] {
  return [...stderr.matchAll(/forwarding 127\.0\.0\.1:(\d+) ->/g)].map(([, port]) => Number(port));
}

/** A listening server's port. */
export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const port = portOf(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What digest() makes of it. */
export function digestOf(data: Buffer): string {
  return `${data.length} ${createHash('sha256').update(data).digest('hex')}`;
}

/**
 * Reads all, slowly at first, so that an upload is under way when its client ends. Calls `done`
 * with its digest.
 */
export function digest(socket: Socket, done: (digest: string) => void): void {
  const hash = createHash('sha256');
  let length = 0;
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    length += chunk.length;
    socket.pause();
    setTimeout(() => socket.resume(), length < MIB ? 5 : 0);
  });
  socket.on('end', () => done(`${length} ${hash.digest('hex')}`));
}
