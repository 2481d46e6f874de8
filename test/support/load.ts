/**
 * Many flows at once through one link to a real sshd: each function is one situation, of any size,
 * and reports its results with their bounds. The tests run small ones, scripts/soak the full size.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DEFAULT_MAX_WINDOW } from '../../src/ssh/limits.ts';
import type { Transport } from '../../src/ssh/transport.ts';
import { pseudoRandomChunks, pseudoRandomDigest } from './bytes.ts';
import { connectStream } from './connectstream.ts';
import { accessTo, dialEmbedded, settingsFor } from './embedded.ts';
import { LoopbackSshd } from './loopback-sshd.ts';

/** One result and its bound. */
export interface Finding {
  readonly what: string;
  readonly value: string;
  readonly bound: string;
  readonly kept: boolean;
}

export class Load {
  readonly transport: Transport;
  readonly #sshd: LoopbackSshd;
  readonly #server: ChildProcess;
  readonly #port: number;

  private constructor(
    transport: Transport,
    sshd: LoopbackSshd,
    server: ChildProcess,
    port: number,
  ) {
    this.transport = transport;
    this.#sshd = sshd;
    this.#server = server;
    this.#port = port;
  }

  static async start(config: readonly string[] = []): Promise<Load> {
    const server = fork(fileURLToPath(new URL('./loadserver.js', import.meta.url)), {
      stdio: 'ignore',
    });
    const [port] = (await once(server, 'message')) as [number];
    const sshd = await LoopbackSshd.start({ config: ['LogLevel ERROR', ...config] });
    const transport = await dialEmbedded([settingsFor(sshd, 'sshd')], {
      access: () => accessTo(sshd),
    });
    return new Load(transport, sshd, server, port);
  }

  async stop(): Promise<void> {
    await this.transport.close();
    this.#server.kill();
    await this.#sshd.stop();
  }

  async open(line: string): Promise<Duplex> {
    const flow = await connectStream(this.transport, { host: '127.0.0.1', port: this.#port });
    flow.write(`${line}\n`);
    return flow;
  }

  openMany(count: number, line: string): Promise<Duplex[]> {
    return Promise.all(Array.from({ length: count }, () => this.open(line)));
  }
}

/** Counts the bytes that a flow receives from now on. */
class Counter {
  bytes = 0;

  constructor(flow: Duplex) {
    flow.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
    });
  }
}

const MB = 1e6;
const sum = (counters: readonly Counter[]): number =>
  counters.reduce((total, { bytes }) => total + bytes, 0);

async function rate(counters: readonly Counter[], seconds: number): Promise<number> {
  const [bytes, begin] = [sum(counters), performance.now()];
  await delay(seconds * 1000);
  return (sum(counters) - bytes) / (performance.now() - begin) / 1000;
}

function resident(): number {
  (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage().rss;
}

/**
 * Readers that stop reading occupy at most their windows, and the others keep their rate.
 * `besides`: octets that this process may take for other things meanwhile.
 */
export async function stalledReaders(
  load: Load,
  size: {
    readonly stalled: number;
    readonly fast: number;
    readonly seconds: number;
    readonly least: number;
    readonly besides?: number;
  },
): Promise<Finding[]> {
  const fast = await load.openMany(size.fast, 'source');
  const counters = fast.map((flow) => new Counter(flow));
  await delay(500);
  const alone = await rate(counters, size.seconds);
  const before = resident();
  const stalled = await load.openMany(size.stalled, 'source');
  // They read a little, so that their windows grow, and then no more.
  for (const flow of stalled) flow.on('data', () => {});
  await delay(300);
  for (const flow of stalled) flow.pause();
  await delay(500);
  const beside = await rate(counters, size.seconds);
  const growth = resident() - before;
  const windows = size.stalled * Math.min(DEFAULT_MAX_WINDOW, 2 * 1024 * 1024);
  const held = windows + (size.besides ?? 0);
  for (const flow of [...stalled, ...fast]) flow.destroy();
  return [
    {
      what: `${size.fast} fast flows beside ${size.stalled} stalled readers`,
      value: `${(beside / alone).toFixed(2)} of ${alone.toFixed(0)} MB/s`,
      bound: `>= ${size.least}`,
      kept: beside >= size.least * alone,
    },
    {
      what: 'memory that they take',
      value: `${(growth / MB).toFixed(0)} MB`,
      bound: `<= ${(held / MB).toFixed(0)} MB`,
      kept: growth <= held,
    },
  ];
}

/** Many idle flows, and some active ones. */
export async function idleAndActive(
  load: Load,
  size: { readonly idle: number; readonly active: number; readonly seconds: number },
): Promise<Finding[]> {
  const before = resident();
  for (let opened = 0; opened < size.idle; opened += 250)
    await load.openMany(Math.min(250, size.idle - opened), 'idle');
  await delay(200);
  const each = (resident() - before) / size.idle / 1024;
  const active = await load.openMany(size.active, 'source');
  const counters = active.map((flow) => new Counter(flow));
  await delay(500);
  const begun = counters.map(({ bytes }) => bytes);
  const total = await rate(counters, size.seconds);
  const parts = counters.map(({ bytes }, index) => bytes - (begun[index] ?? 0));
  const [least, most] = [Math.min(...parts), Math.max(...parts)];
  for (const flow of active) flow.destroy();
  return [
    {
      what: `memory of ${size.idle} idle flows`,
      value: `${each.toFixed(1)} KiB each`,
      bound: '<= 12 KiB each',
      kept: each <= 12,
    },
    {
      what: `${size.active} active flows beside them`,
      value: `${total.toFixed(0)} MB/s, parts ${(least / most).toFixed(2)}`,
      bound: 'all move',
      kept: least > 0,
    },
  ];
}

/** Carries `bytes` both ways over `flows` flows: every digest must be right. */
export async function transfers(
  load: Load,
  size: { readonly bytes: number; readonly flows: number },
): Promise<Finding[]> {
  const each = Math.floor(size.bytes / size.flows / 2);
  const begin = performance.now();
  const wrong = { up: 0, down: 0 };
  const one = async (index: number): Promise<void> => {
    const seed = `transfer ${index}`;
    const expected = pseudoRandomDigest(each, seed);
    const [down, up] = await Promise.all([
      load.open(`download ${seed.replace(' ', '-')} ${each}`),
      load.open('upload'),
    ]);
    const hash = createHash('sha256');
    down.on('data', (chunk: Buffer) => {
      hash.update(chunk);
    });
    down.end();
    let answer = '';
    up.on('data', (chunk: Buffer) => {
      answer += String(chunk);
    });
    const sent = (async () => {
      for (const chunk of pseudoRandomChunks(each, seed))
        if (!up.write(chunk)) await once(up, 'drain');
      up.end();
    })();
    await Promise.all([once(down, 'end'), once(up, 'end'), sent]);
    if (hash.digest('hex') !== pseudoRandomDigest(each, seed.replace(' ', '-'))) wrong.down++;
    if (answer.trim() !== expected) wrong.up++;
  };
  await Promise.all(Array.from({ length: size.flows }, (_, index) => one(index)));
  const seconds = (performance.now() - begin) / 1000;
  return [
    {
      what: `${(size.bytes / 1e9).toFixed(2)} GB over ${size.flows} flows each way`,
      value: `${wrong.up} + ${wrong.down} wrong, ${(size.bytes / seconds / MB).toFixed(0)} MB/s`,
      bound: '0 wrong',
      kept: wrong.up + wrong.down === 0,
    },
  ];
}

/** Bulk flows get equal shares: the smallest is at least `least` of the largest. */
export async function fairness(
  load: Load,
  size: { readonly flows: number; readonly seconds: number; readonly least: number },
): Promise<Finding[]> {
  const flows = await load.openMany(size.flows, 'source');
  const counters = flows.map((flow) => new Counter(flow));
  await delay(1000);
  const begun = counters.map(({ bytes }) => bytes);
  await delay(size.seconds * 1000);
  const down = counters.map(({ bytes }, index) => bytes - (begun[index] ?? 0));
  for (const flow of flows) flow.destroy();
  const uploads = await load.openMany(size.flows, 'sink');
  const sent = uploads.map(() => 0);
  const chunk = Buffer.alloc(64 * 1024);
  uploads.forEach((flow, index) => {
    const fill = (): void => {
      while (flow.writable) {
        sent[index] = (sent[index] ?? 0) + chunk.length;
        if (!flow.write(chunk)) break;
      }
    };
    flow.on('drain', fill);
    fill();
  });
  await delay(1000);
  const before = [...sent];
  await delay(size.seconds * 1000);
  const up = sent.map((bytes, index) => bytes - (before[index] ?? 0));
  for (const flow of uploads) flow.destroy();
  return [['down', down] as const, ['up', up] as const].map(([direction, parts]) => {
    const [least, most] = [Math.min(...parts), Math.max(...parts)];
    return {
      what: `${size.flows} bulk flows ${direction} over ${size.seconds} s`,
      value: `least ${(least / most).toFixed(3)} of most`,
      bound: `>= ${size.least.toFixed(2)}`,
      kept: least >= size.least * most,
    };
  });
}
