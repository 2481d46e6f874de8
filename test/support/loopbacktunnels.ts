/**
 * Runs of `tunnel proxy` with one sshd on the loopback device, and an echo server that they lead
 * to. They have a home and a runtime directory of their own, so that `tunnel status` and the others
 * see no tunnels but these.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LoopbackSshd } from './loopback-sshd.ts';
import { Child } from './process.ts';
import { MAIN } from './tunnel.ts';

const READY = /tunnel: ready\n/;
const START_MS = 30_000;

export class LoopbackTunnels {
  readonly sshd: LoopbackSshd;
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
  readonly echoPort: number;
  readonly #echo: Server;
  readonly #children: Child[] = [];

  private constructor(sshd: LoopbackSshd, echo: Server) {
    this.sshd = sshd;
    this.#echo = echo;
    this.echoPort = (echo.address() as AddressInfo).port;
    this.directory = mkdtempSync(join(tmpdir(), 'tunnel-loopback-'));
    const { directory } = this;
    const { PATH = '' } = process.env;
    this.env = { PATH, HOME: directory, RUNTIME_DIRECTORY: directory };
  }

  static async create(): Promise<LoopbackTunnels> {
    const sshd = await LoopbackSshd.start({ config: ['MaxSessions 0'] });
    const echo = createServer((socket) => socket.on('error', () => {}).pipe(socket));
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    return new LoopbackTunnels(sshd, echo);
  }

  /** Starts one, without waiting for it. */
  async begin(...args: readonly string[]): Promise<Child> {
    const words = [...(await this.sshd.login()), '--listen', '127.0.0.1:0', ...args];
    const child = await Child.start([process.execPath, MAIN, 'proxy', ...words], { env: this.env });
    this.#children.push(child);
    return child;
  }

  /** Starts one, and waits until it is ready. `proxy` is the port of its proxy. */
  async start(...args: readonly string[]): Promise<{ child: Child; proxy: number }> {
    const child = await this.begin(...args);
    await child.waitForLine(READY, START_MS);
    return { child, proxy: Number(/proxy at 127\.0\.0\.1:(\d+)/.exec(child.stderr)?.[1]) };
  }

  /** Kills those that still run. */
  async close(): Promise<void> {
    for (const child of this.#children) await child.stop('SIGKILL');
    this.#echo.close();
    await this.sshd.stop();
    rmSync(this.directory, { recursive: true });
  }
}
