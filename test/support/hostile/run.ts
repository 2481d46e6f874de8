/**
 * Runs the whole program, `tunnel proxy`, against one row, and judges what it did:
 *
 *   row.attack <- TCP <- tunnel proxy <- SOCKS <- this process: one connection that must live, one
 *                                                 to FAULT_HOST
 *
 * For every row: the program ends within its time with the right status; each line that it writes
 * is one clean line of its own; its peak memory and its processor time are bounded, compared with
 * a run without a fault; and it doesn't spin afterwards.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { startProxyProgram } from '../loopbackprogram.ts';
import type { Child } from '../process.ts';
import { fingerprint, HostilePeer, type HostKey, newHostKey, PeerGone } from './peer.ts';
import {
  CPU_SECONDS,
  type FlowEnd,
  MEMORY_MIB,
  type Outcome,
  PATIENCE_SECONDS,
  type Row,
} from './row.ts';
import { ECHO_HOST, FAULT_HOST } from './server.ts';

/** The answers to the greeting and to CONNECT. */
const SOCKS_ANSWER_BYTES = 12;
const KEPT_BYTES = 100;
const ECHO_PORT = 7;
const PIECE = Buffer.alloc(64 * 1024);
/** For the program to start on a busy machine. */
export const START_SECONDS = 20;
export const STOP_SECONDS = 8;
/** How long a connection that is to wait is watched. */
const WATCH_MS = 300;
/** Of a time in which nothing happens, at most half may be processor time. */
const IDLE_MS = 300;
/** How long late work may take, such as collecting garbage on a busy machine. */
const SETTLE_MS = 10_000;
const TICKS_A_SECOND = 100;
/** As printable() of observe/ would remove, but written independently of it. */
const UNCLEAN =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff]/u;

export interface Usage {
  readonly peakMib: number;
  readonly cpuSeconds: number;
}

/** What a run has cost, and what it has said. */
export interface RunResult extends Usage {
  readonly stderr: string;
}

export interface HostileServer {
  readonly port: number;
  readonly pin: string;
  readonly faults: unknown[];
  close(): void;
}

/** Listens on a free port of the loopback device and attacks whoever connects. */
export async function startHostile(
  attack: Row['attack'],
  hostKey: HostKey = newHostKey(),
): Promise<HostileServer> {
  const sockets = new Set<Socket>();
  const faults: unknown[] = [];
  let attempts = 0;
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const peer = new HostilePeer(socket, hostKey);
    attack(peer, attempts++).catch((error: unknown) => {
      if (!(error instanceof PeerGone)) faults.push(error);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    pin: fingerprint(hostKey),
    faults,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Runs the program against `row` and asserts its outcome. */
export async function runRow(row: Row, baseline: Usage, keyFile: string): Promise<RunResult> {
  const server = await startHostile(row.attack, row.hostKey);
  // Short where its end is waited for; elsewhere the machine may be busy.
  const waits = row.outcome.kind === 'start fails' && /slow|timeout/.test(row.outcome.code);
  const limit = waits ? '2' : '10';
  const program = await startProxyProgram([
    '-v',
    ...['--transport', row.transport ?? 'ssh2', '--socks', '127.0.0.1:0'],
    ...['--host-key', server.pin, '--connect-timeout', limit, '--auth-timeout', limit],
    ...(row.withKey ? ['-i', keyFile] : []),
    ...(row.arguments ?? []),
    ...['-r', `me@127.0.0.1:${server.port}`],
  ]);
  const usage = new UsageWatch(program);
  try {
    const patience = (row.patience ?? PATIENCE_SECONDS) * 1000;
    if (row.outcome.kind === 'start fails')
      await ends(program, row.outcome, START_SECONDS * 1000 + patience);
    else await staysUp(program, row, row.outcome, patience, usage);
    usage.take();
    const { stderr } = program;
    judge(row, server, stderr, usage, baseline);
    return { peakMib: usage.peakMib, cpuSeconds: usage.cpuSeconds, stderr };
  } catch (error) {
    if (error instanceof Error) error.message += `\n${program.stderr.slice(-3000)}`;
    throw error;
  } finally {
    server.close();
    program.kill('SIGKILL');
    await program.exited;
  }
}

interface Failure {
  readonly code: string;
  readonly status: number;
  readonly says?: RegExp;
}

async function ends(
  program: Child,
  { code, status, says }: Failure,
  patience: number,
): Promise<void> {
  const ended = await program.wait(patience);
  const errors = program.stderr.split('\n').filter((line) => line.startsWith('tunnel: error ['));
  assert.equal(errors.length, 1, 'one line says what happened');
  assert.match(errors[0] ?? '', new RegExp(`^tunnel: error \\[(?:${code})\\]: .`));
  if (says !== undefined) assert.match(errors[0] ?? '', says);
  assert.equal(ended.status, status, 'the exit status');
}

async function staysUp(
  program: Child,
  row: Row,
  outcome: Exclude<Outcome, { kind: 'start fails' }>,
  patience: number,
  usage: UsageWatch,
): Promise<void> {
  const [, port] = await program.waitForLine(/proxy at 127\.0\.0\.1:(\d+)\n/, START_SECONDS * 1000);
  const proxy = Number(port);
  const other = await Flow.open(proxy, ECHO_HOST);
  assert.equal(other.reply, 0, 'a connection beside it opens');
  assert.ok(await other.echoes(patience), 'it echoes');
  if (outcome.kind === 'program ends') {
    await Flow.open(proxy, FAULT_HOST, WATCH_MS);
    await ends(program, outcome, patience);
    return;
  }
  if (outcome.kind === 'link is lost') {
    const fault = await Flow.open(proxy, FAULT_HOST, WATCH_MS);
    if (row.upload !== undefined) fault.upload(row.upload);
    await program.waitForLine(outcome.says, patience);
    await program.waitForLine(/reconnected after [^\n]*\n/, patience + 10_000);
    other.close();
  } else {
    await becomes(outcome.flow, proxy, row, patience);
    if (!row.harmsOthers)
      assert.ok(await other.echoes(patience), 'the connection beside it lives on');
    assert.doesNotMatch(program.stderr, /^tunnel: link lost/m);
    other.close();
  }
  const later = await Flow.open(proxy, ECHO_HOST, patience + 15_000);
  assert.equal(later.reply, 0, 'a connection opens afterwards');
  assert.ok(await later.echoes(patience), 'it echoes');
  later.close();
  await usage.assertIdle();
  usage.take();
  program.kill('SIGTERM');
  const ended = await program.wait(STOP_SECONDS * 1000);
  assert.equal(ended.status, 0, 'TERM ends it in order');
}

/** What comes of the connection to FAULT_HOST. */
async function becomes(flow: FlowEnd, proxy: number, row: Row, patience: number): Promise<void> {
  const fault = await Flow.open(proxy, FAULT_HOST, flow === 'unanswered' ? WATCH_MS : patience);
  if (flow === 'unanswered') {
    assert.equal(fault.answered, false, 'it is not answered');
    fault.close();
    return;
  }
  if (row.upload !== undefined) fault.upload(row.upload);
  if (flow === 'refused') assert.notEqual(fault.reply, 0, 'it is refused');
  else assert.equal(fault.reply, 0, 'it opens');
  if (row.stalls !== undefined) await fault.stall(row.stalls);
  if (flow === 'works') assert.ok(await fault.echoes(patience), 'it echoes');
  if (flow === 'ends') assert.ok(await fault.ends(patience), 'it ends');
  if (flow === 'waits') {
    assert.ok(!(await fault.ends(WATCH_MS)), 'it stays open');
  }
  fault.close();
}

/** Throws if a row that is over has shown anything that it may not, or used more than it may. */
export function judge(
  row: Pick<Row, 'counter' | 'memory' | 'cpu'>,
  server: HostileServer,
  stderr: string,
  usage: Usage,
  baseline: Usage,
): void {
  assert.deepEqual(server.faults, [], 'the row itself has gone wrong');
  assertClean(stderr);
  if (row.counter !== undefined)
    assert.match(stderr, new RegExp(`${row.counter} [1-9]`), 'the counter has not grown');
  const memory = baseline.peakMib + (row.memory ?? MEMORY_MIB);
  assert.ok(usage.peakMib <= memory, `${usage.peakMib} MiB at its peak; ${memory} allowed`);
  const cpu = baseline.cpuSeconds + (row.cpu ?? CPU_SECONDS);
  assert.ok(usage.cpuSeconds <= cpu, `${usage.cpuSeconds} s of CPU; ${cpu} allowed`);
}

export function assertClean(stderr: string): void {
  for (const line of stderr.split('\n')) {
    assert.doesNotMatch(line, UNCLEAN, `unclean: ${JSON.stringify(line)}`);
    if (line !== '') assert.match(line, /^tunnel: /, 'a line that is not the program’s own');
  }
  assert.doesNotMatch(stderr, /\[unexpected\]|bug in the program/);
}

/** A connection through the program's SOCKS proxy. */
class Flow {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #answer: Buffer | undefined;
  #ended = false;
  #wake: () => void = () => {};

  private constructor(proxy: number) {
    this.#socket = connect({ host: '127.0.0.1', port: proxy });
    this.#socket.on('error', () => {
      // It shows as an end.
    });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      if (this.#answer === undefined && this.#received.length >= SOCKS_ANSWER_BYTES) {
        this.#answer = this.#received.subarray(0, SOCKS_ANSWER_BYTES);
        this.#received = this.#received.subarray(SOCKS_ANSWER_BYTES);
      }
      if (this.#answer !== undefined) this.#received = this.#received.subarray(-KEPT_BYTES);
      this.#wake();
    });
    for (const event of ['end', 'close'])
      this.#socket.on(event, () => {
        this.#ended = true;
        this.#wake();
      });
  }

  static async open(proxy: number, host: string, patience = 15_000): Promise<Flow> {
    const flow = new Flow(proxy);
    const name = Buffer.from(host);
    flow.#socket.write(
      Buffer.concat([
        Buffer.from([5, 1, 0, 5, 1, 0, 3, name.length]),
        name,
        Buffer.from([0, ECHO_PORT]),
      ]),
    );
    await flow.#until(() => flow.#answer !== undefined, patience);
    return flow;
  }

  get answered(): boolean {
    return this.#answer !== undefined || this.#ended;
  }

  /** Of SOCKS: 0 is success; 255: none came. */
  get reply(): number {
    return this.#answer?.[3] ?? 255;
  }

  /** Sends a word and waits for it. */
  async echoes(patience: number): Promise<boolean> {
    const word = `word-${Math.random().toString(36).slice(2)}`;
    this.#socket.write(word);
    return this.#until(() => this.#received.includes(word), patience);
  }

  ends(patience: number): Promise<boolean> {
    return this.#until(() => this.#ended, patience);
  }

  upload(bytes: number): void {
    for (let sent = 0; sent < bytes; sent += PIECE.length) this.#socket.write(PIECE);
  }

  /** Reads nothing for so long. */
  async stall(milliseconds: number): Promise<void> {
    this.#socket.pause();
    await delay(milliseconds);
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
  }

  async #until(condition: () => boolean, patience: number): Promise<boolean> {
    const deadline = performance.now() + patience;
    while (!condition()) {
      const left = deadline - performance.now();
      if (left <= 0 || this.#ended) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return true;
  }
}

/** Reads the program's peak memory and its processor time while it lives. */
export class UsageWatch {
  readonly #pid: number;
  #timer: NodeJS.Timeout;
  peakMib = 0;
  cpuSeconds = 0;

  constructor(program: { readonly pid: number; readonly exited: Promise<unknown> }) {
    this.#pid = program.pid;
    this.#timer = setInterval(() => this.take(), 50);
    void program.exited.then(() => clearInterval(this.#timer));
  }

  take(): void {
    try {
      const status = readFileSync(`/proc/${this.#pid}/status`, 'latin1');
      const peak = Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024;
      this.peakMib = Math.max(this.peakMib, Math.round(peak));
      this.cpuSeconds = Math.max(this.cpuSeconds, cpuOf(this.#pid));
    } catch {
      // It has ended: what was read before counts.
    }
  }

  /** It must not spin when nothing happens, once its late work is over. */
  async assertIdle(): Promise<void> {
    const deadline = performance.now() + SETTLE_MS;
    const shares: string[] = [];
    while (performance.now() < deadline) {
      const [before, began] = [cpuOf(this.#pid), performance.now()];
      await delay(IDLE_MS);
      const share = (1000 * (cpuOf(this.#pid) - before)) / (performance.now() - began);
      if (share <= 1 / 2) return;
      shares.push(`${Math.round(100 * share)} %`);
    }
    assert.fail(`of the CPU without work, never idle: ${shares.join(', ')}`);
  }
}

function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}
