/**
 * Rows about what this machine's own side does, or what a jump server does to a forward or to
 * `tunnel nc`: a table of docs/hostile.md as those of row.ts, with trials of their own.
 *
 *   ForwardTrial  a jump server <- tunnel proxy -L ... <- clients of the row
 *   NcTrial       a jump server <- tunnel nc HOST 7 <- standard input and output of the row
 *
 * For every row: what the program writes is clean; its peak memory and its processor time are
 * bounded, compared with a run without a fault. A program with forwards still carries connections
 * afterwards, and TERM ends it in order.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startProxyProgram } from '../loopbackprogram.ts';
import type { Child } from '../process.ts';
import { MAIN } from '../tunnel.ts';
import type { HostilePeer } from './peer.ts';
import type { Row } from './row.ts';
import {
  assertClean,
  type HostileServer,
  judge,
  START_SECONDS,
  STOP_SECONDS,
  startHostile,
  type Usage,
  UsageWatch,
} from './run.ts';
import { ECHO_HOST, FAULT_HOST, type ServedChannel, serve } from './server.ts';

/** For whatever a row waits for, in ms. */
export const PATIENCE_MS = 20_000;
const PIECE = Buffer.alloc(64 * 1024);
const KEPT_CHARACTERS = 200;

interface LocalRowOf<Trial> {
  /** Short: it selects the row. */
  readonly name: string;
  /** Who does what, for the table. */
  readonly does: string;
  readonly told: string;
  /** What ends, for the table. */
  readonly ends: string;
  /** A counter that has grown at the end. */
  readonly counter?: string;
  /** The jump server. Default: it serves well. */
  readonly attack?: Row['attack'];
  readonly arguments?: readonly string[];
  /** As those of Row. */
  readonly memory?: number;
  readonly cpu?: number;
  readonly run: (trial: Trial) => Promise<void>;
}

export type ForwardRow = LocalRowOf<ForwardTrial>;
export type NcRow = LocalRowOf<NcTrial>;
export type LocalRow = LocalRowOf<never>;

const serveWell = async (peer: HostilePeer): Promise<void> => {
  await peer.welcome();
  await serve(peer);
};

/** A jump server that does this with the channels to FAULT_HOST. */
export const onChannel =
  (fault: (channel: ServedChannel, peer: HostilePeer) => void | Promise<void>): Row['attack'] =>
  async (peer) => {
    await peer.welcome();
    await serve(peer, { fault: (channel) => fault(channel, peer) });
  };

/** Sends this many octets, as the window admits, unless the channel is closed before. */
export async function pour(channel: ServedChannel, bytes: number): Promise<void> {
  let closed = false;
  void channel.closeReceived.then(() => {
    closed = true;
  });
  for (let left = bytes; left > 0 && !closed && !channel.peer.gone; ) {
    const now = Math.min(left, channel.left, channel.maxPacket, PIECE.length);
    if (now === 0) {
      await delay(5);
      continue;
    }
    channel.left -= now;
    left -= now;
    channel.data(PIECE.subarray(0, now));
    await channel.peer.drained();
  }
}

/** Fails with `what` unless it becomes true in time. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `${what}, within ${PATIENCE_MS / 1000} s`);
    await delay(10);
  }
}

/** A client of a forward. */
export class LocalClient {
  readonly socket: Socket;
  received = 0;
  /** Its end, or its reset, has come. */
  over = false;
  error: string | undefined;
  #last = '';

  constructor(to: NetConnectOpts) {
    this.socket = connect({ allowHalfOpen: true, ...to });
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = error.code;
    });
    this.socket.on('data', (chunk: Buffer) => {
      this.received += chunk.length;
      this.#last = (this.#last + chunk.toString('latin1')).slice(-KEPT_CHARACTERS);
    });
    for (const event of ['end', 'close'])
      this.socket.on(event, () => {
        this.over = true;
      });
  }

  async connected(): Promise<this> {
    if (this.socket.connecting) await once(this.socket, 'connect');
    return this;
  }

  /** Sends a word and waits for it. */
  async echoes(): Promise<void> {
    const word = `word-${Math.random().toString(36).slice(2)}`;
    this.socket.write(word);
    await until(() => this.over || this.#last.includes(word), 'it echoes');
    assert.ok(!this.over, `it has ended: ${this.error}`);
  }

  upload(bytes: number): void {
    for (let sent = 0; sent < bytes; sent += PIECE.length) this.socket.write(PIECE);
  }

  /** Sends its end. Before that, Node can't reset the socket, and never closes it if asked to. */
  async end(): Promise<void> {
    await new Promise<void>((resolve) => this.socket.end(resolve));
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }
}

/** The whole program with three forwards, and others beside it. */
export class ForwardTrial {
  readonly program: Child;
  readonly server: HostileServer;
  /** A directory of its own; `socket` is in it. */
  readonly directory: string;
  readonly socket: string;
  /** Ports of the forwards to ECHO_HOST and FAULT_HOST. */
  readonly echo: number;
  readonly fault: number;
  readonly #clients: LocalClient[] = [];
  readonly #others: Child[] = [];

  private constructor(
    program: Child,
    server: HostileServer,
    directory: string,
    ports: readonly number[],
  ) {
    this.program = program;
    this.server = server;
    this.directory = directory;
    this.socket = join(directory, 'echo.sock');
    [this.echo = 0, this.fault = 0] = ports;
  }

  /** Runs a row; rejects if anything is not as it should be. */
  static async run(row: ForwardRow, baseline: Usage): Promise<Usage> {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-hostile-'));
    const server = await startHostile(row.attack ?? serveWell);
    const program = await startProxyProgram([
      ...['-v', '--transport', 'ssh2', '--listen', '127.0.0.1:0', '--host-key', server.pin],
      ...['-L', `127.0.0.1:0:${ECHO_HOST}:7`, '-L', `127.0.0.1:0:${FAULT_HOST}:7`],
      ...['-L', `${join(directory, 'echo.sock')}:${ECHO_HOST}:7`, ...(row.arguments ?? [])],
      ...['-r', `me@127.0.0.1:${server.port}`],
    ]);
    const usage = new UsageWatch(program);
    let trial: ForwardTrial | undefined;
    try {
      await program.waitForLine(/tunnel: ready\n/, START_SECONDS * 1000);
      const ports = [...program.stderr.matchAll(/forwarding 127\.0\.0\.1:(\d+) ->/g)];
      trial = new ForwardTrial(
        program,
        server,
        directory,
        ports.map(([, port]) => Number(port)),
      );
      await row.run(trial);
      trial.#leave();
      await trial.client(trial.echo).echoes();
      trial.#leave();
      await usage.assertIdle();
      usage.take();
      program.kill('SIGTERM');
      assert.equal((await program.wait(STOP_SECONDS * 1000)).status, 0, 'TERM ends it in order');
      judge(row, server, program.stderr, usage, baseline);
      for (const { stderr } of trial.#others) assertClean(stderr);
      return usage;
    } catch (error) {
      if (error instanceof Error) error.message += `\n${program.stderr.slice(-3000)}`;
      throw error;
    } finally {
      if (trial !== undefined) trial.#leave();
      server.close();
      for (const child of [program, ...(trial === undefined ? [] : trial.#others)]) {
        child.kill('SIGKILL');
        await child.exited;
      }
      rmSync(directory, { recursive: true });
    }
  }

  /** One more program, at the same jump server. */
  async another(args: readonly string[]): Promise<Child> {
    const { pin, port } = this.server;
    const child = await startProxyProgram([
      ...['--transport', 'ssh2', '--listen', '127.0.0.1:0', '--host-key', pin],
      ...['-r', `me@127.0.0.1:${port}`, ...args],
    ]);
    this.#others.push(child);
    return child;
  }

  /** `to`: a port, or the path of a socket. */
  client(to: number | string): LocalClient {
    const client = new LocalClient(
      typeof to === 'number' ? { port: to, host: '127.0.0.1' } : { path: to },
    );
    this.#clients.push(client);
    return client;
  }

  /** So many, connected. */
  async clients(count: number, to: number | string): Promise<LocalClient[]> {
    const clients: LocalClient[] = [];
    while (clients.length < count) {
      const some = Array.from({ length: Math.min(100, count - clients.length) }, () =>
        this.client(to),
      );
      // Who is reset at once may hear of it while it connects.
      await until(() => some.every(({ socket }) => !socket.connecting), 'they connect');
      clients.push(...some);
    }
    return clients;
  }

  #leave(): void {
    for (const client of this.#clients.splice(0)) client.socket.destroy();
  }
}

/** What a row's `tunnel nc` has for standard input and output. */
export interface NcStart {
  /** Default: pipes, in `child`. */
  readonly stdio?: readonly ['pipe' | 'ignore' | number, 'pipe' | 'ignore' | number];
  /** What is connected to. Default: FAULT_HOST. */
  readonly host?: string;
}

/** `tunnel nc`, started by the row itself. */
export class NcTrial {
  readonly server: HostileServer;
  readonly directory: string;
  stderr = '';
  stdout = 0;
  readonly #row: NcRow;
  readonly #started: ChildProcess[] = [];
  usage: UsageWatch | undefined;

  private constructor(row: NcRow, server: HostileServer) {
    this.#row = row;
    this.server = server;
    this.directory = mkdtempSync(join(tmpdir(), 'tunnel-hostile-'));
  }

  static async run(row: NcRow, baseline: Usage): Promise<Usage> {
    const server = await startHostile(row.attack ?? serveWell);
    const trial = new NcTrial(row, server);
    try {
      await row.run(trial);
      const usage = trial.usage ?? { peakMib: 0, cpuSeconds: 0 };
      judge(row, server, trial.stderr, usage, baseline);
      return usage;
    } catch (error) {
      if (error instanceof Error) error.message += `\n${trial.stderr.slice(-3000)}`;
      throw error;
    } finally {
      server.close();
      for (const child of trial.#started) child.kill('SIGKILL');
      rmSync(trial.directory, { recursive: true });
    }
  }

  start({ stdio = ['pipe', 'pipe'], host = FAULT_HOST }: NcStart = {}): ChildProcess {
    const { port, pin } = this.server;
    const child = spawn(
      'setsid',
      [
        ...[process.execPath, MAIN, 'nc', '-v', '--transport', 'ssh2', '-F', 'none'],
        ...['--host-key', pin, '-r', `me@127.0.0.1:${port}`, ...(this.#row.arguments ?? [])],
        ...[host, '7'],
      ],
      {
        stdio: [...stdio, 'pipe'],
        env: {
          PATH: process.env['PATH'] ?? '',
          HOME: this.directory,
          RUNTIME_DIRECTORY: this.directory,
        },
      },
    );
    this.#started.push(child);
    child.stdin?.on('error', () => {
      // It reads no more.
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    const pid = child.pid ?? 0;
    this.usage = new UsageWatch({ pid, exited: once(child, 'exit').then(() => {}) });
    return child;
  }

  /** Counts what it writes, from now on. */
  reads(child: ChildProcess): void {
    child.stdout?.on('data', (chunk: Buffer) => {
      this.stdout += chunk.length;
    });
  }

  says(pattern: RegExp): Promise<void> {
    return until(() => pattern.test(this.stderr), `it says ${pattern}`);
  }

  /** Its exit status, or the signal that ended it. */
  async ended(child: ChildProcess): Promise<number | NodeJS.Signals | null> {
    const over = () => child.exitCode !== null || child.signalCode !== null;
    await until(over, 'it ends');
    // What it has said is read before 'close'.
    await delay(50);
    return child.exitCode ?? child.signalCode;
  }
}
