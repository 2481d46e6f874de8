/** A lab with SSH servers other than OpenSSH at the jump host, and what the tests try with them. */
import { fileURLToPath } from 'node:url';
import { JUMPHOST4 } from './addresses.ts';
import { JUMP_USER } from './credentials.ts';
import { Lab } from './lab.ts';
import type { OpenAnswer } from './openwords.ts';
import type { Child, ExecResult } from './process.ts';
import { type JumpServer, SshServer } from './sshservers.ts';
import { MAIN } from './tunnel.ts';

const CARRY = fileURLToPath(new URL('./carry.js', import.meta.url));
const OPEN_WORDS = fileURLToPath(new URL('./openwords.js', import.meta.url));
const FIRST_PORT = 2301;
const START_TIMEOUT_MS = 30_000;
const CARRY_TIMEOUT_MS = 120_000;
/**
 * A silent destination is given up after 7 s, instead of two minutes: later than an absent one
 * (3 s, the kernel's search for a neighbour).
 */
const SYN_RETRIES = 2;

export class ServerLab {
  readonly lab: Lab;
  readonly #ports: ReadonlyMap<string, number>;
  readonly #running: Child[] = [];

  private constructor(lab: Lab, ports: ReadonlyMap<string, number>) {
    this.lab = lab;
    this.#ports = ports;
  }

  static async create(kinds: readonly JumpServer[]): Promise<ServerLab> {
    const ports = new Map(kinds.map(({ name }, at) => [name, FIRST_PORT + at]));
    const lab = await Lab.create({ sshd: 'open', knownPorts: [...ports.values()] });
    await lab.jumphost.configure([], [`net/ipv4/tcp_syn_retries=${SYN_RETRIES}`]);
    return new ServerLab(lab, ports);
  }

  start(kind: JumpServer): Promise<SshServer> {
    return SshServer.start(this.lab, kind, this.#ports.get(kind.name) ?? FIRST_PORT);
  }

  /** Runs `tunnel proxy`; returns the way to it for `carry`. */
  async proxy(server: SshServer, transport = 'auto'): Promise<string> {
    const child = await this.lab.client.spawn([
      ...[process.execPath, MAIN, 'proxy', '-r', server.remote, '--listen', '127.0.0.1:0'],
      ...['--transport', transport],
    ]);
    this.#running.push(child);
    const [, port = ''] = await child.waitForLine(/proxy at \S+:(\d+)/, START_TIMEOUT_MS);
    await child.waitForLine(/tunnel: ready\n/, START_TIMEOUT_MS);
    return `socks:${port}`;
  }

  /** carry.ts in the client. `prefix`: a command line that runs it. */
  async carry<T>(
    way: string,
    args: readonly (string | number)[],
    prefix: readonly string[] = [],
    timeout = CARRY_TIMEOUT_MS,
  ): Promise<T> {
    const argv = [...prefix, process.execPath, CARRY, way, ...args.map(String)];
    const { status, stdout, stderr } = await this.lab.client.exec(argv, { timeout });
    if (status !== 0) throw new Error(`carry ${args.join(' ')}: status ${status}: ${stderr}`);
    return JSON.parse(stdout) as T;
  }

  /** What the server itself answers: its identification, and one answer for each pair. */
  async words(
    server: SshServer,
    pairs: readonly (readonly [host: string, port: number])[],
  ): Promise<{ identification: string; answers: OpenAnswer[] }> {
    const { keys } = this.lab.credentials;
    const { stdout, stderr } = await this.lab.client.exec(
      [process.execPath, OPEN_WORDS, JUMPHOST4, String(server.port), JUMP_USER, keys.authorized],
      { input: pairs.map(([host, port]) => `${host} ${port}\n`).join(''), timeout: 60_000 },
    );
    const [identification = '', ...lines] = stdout.trimEnd().split('\n');
    if (lines.length !== pairs.length) throw new Error(`openwords: ${stdout}${stderr}`);
    return { identification, answers: lines.map((line) => JSON.parse(line) as OpenAnswer) };
  }

  /** OpenSSH's client asks for a session and runs `true` in it, or is refused. */
  runSession(server: SshServer): Promise<ExecResult> {
    const { sshConfig } = this.lab.credentials;
    return this.lab.client.exec([
      ...['ssh', '-F', sshConfig, '-p', String(server.port), JUMPHOST4, 'true'],
    ]);
  }

  async close(): Promise<void> {
    for (const child of this.#running.reverse())
      await child.stop('SIGTERM').catch(() => child.kill('SIGKILL'));
    await this.lab.close();
  }
}

/** `session` on a line of its own, as the servers print it. */
export function saysSession(server: SshServer): boolean {
  return /^session$/m.test(server.output);
}
