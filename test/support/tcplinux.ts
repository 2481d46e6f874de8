/**
 * The TCP endpoint against Linux's own TCP: `tcplinux.js FLOWS BYTES SEED`, as root in a separate
 * network namespace. The device loses, duplicates and reorders frames; instead of a transport there
 * are far sides that generate, check and echo data; the clients are tcplinuxclient.ts.
 *
 * Prints its results as JSON, and exits with 0 if every byte was right and nothing is left.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/base/clock.ts';
import { LinuxTun } from '../../src/capture/tun/linuxtun.ts';
import { PacketStack } from '../../src/capture/tun/stack.ts';
import type { TcpFlow } from '../../src/capture/tun/tcpflow.ts';
import type { Conduit } from '../../src/flow/conduit.ts';
import type { Slab } from '../../src/flow/memory.ts';
import { parsePrefix } from '../../src/net/prefix.ts';
import { silentObserver } from '../../src/observe/observer.ts';
import { startHelper } from '../../src/system/helper/helper.ts';
import { pseudoRandomChunks, pseudoRandomDigest } from './bytes.ts';
import { CountingPool } from './countingpool.ts';
import { mustRun, run } from './process.ts';
import { FaultyDevice } from './tcpfaulty.ts';
import { BASE_PORT, downSeed, echoes, upSeed } from './tcplinuxflows.ts';

const CLIENT = fileURLToPath(new URL('./tcplinuxclient.js', import.meta.url));
const HOSTS = ['203.0.113.10', '2001:db8:53::10'];
const MTU = 65_520;
const WINDOW = 256 * 1024;
const PIECE = 32 * 1024;
/** The last FIN may be lost several times; its retransmissions then come seconds apart. */
const SETTLE_MS = 30_000;

const [flows = 0, bytes = 0, seed = 0] = process.argv.slice(2).map(Number);
const slabs = new CountingPool(PIECE, 16);
const wrong: string[] = [];

/** Sends back what it gets, even before the application has ended. */
class Echo implements Conduit {
  received = 0;
  readonly #flow: TcpFlow;

  constructor(flow: TcpFlow) {
    this.#flow = flow;
  }

  join(): void {}
  whenOver(): void {}

  send(data: Buffer, memory: Slab | undefined): void {
    this.received += data.length;
    this.#flow.send(data, memory);
  }

  finish(): void {
    this.#flow.finish();
  }

  taken(size: number): void {
    this.#flow.taken(size);
  }

  shut(): void {}

  abort(error: Error | undefined): void {
    wrong.push(`an echo was reset: ${error?.message}`);
  }
}

/** Generates data and checks what it gets. */
class Maker implements Conduit {
  received = 0;
  readonly #flow: TcpFlow;
  readonly #n: number;
  readonly #hash = createHash('sha256');
  readonly #chunks: Generator<Buffer>;
  #chunk: Buffer = Buffer.alloc(0);
  #outstanding = 0;

  constructor(flow: TcpFlow, n: number) {
    this.#flow = flow;
    this.#n = n;
    this.#chunks = pseudoRandomChunks(bytes, downSeed(n));
  }

  join(): void {}
  whenOver(): void {}

  send(data: Buffer): void {
    this.received += data.length;
    this.#hash.update(data);
    this.#flow.taken(data.length);
  }

  finish(): void {
    const digest = this.#hash.digest('hex');
    if (this.received !== bytes || digest !== pseudoRandomDigest(bytes, upSeed(this.#n)))
      wrong.push(`flow ${this.#n}: ${this.received} bytes came, sha256 ${digest}`);
  }

  taken(size: number): void {
    this.#outstanding -= size;
    this.output();
  }

  shut(): void {}

  abort(error: Error | undefined): void {
    wrong.push(`flow ${this.#n} was reset: ${error?.message}`);
  }

  output(): void {
    while (this.#outstanding < WINDOW) {
      if (this.#chunk.length === 0) {
        const { value, done } = this.#chunks.next();
        if (done === true) {
          this.#flow.finish();
          return;
        }
        this.#chunk = value;
      }
      const slab = slabs.take();
      const size = this.#chunk.copy(slab.bytes);
      this.#chunk = this.#chunk.subarray(size);
      this.#outstanding += size;
      this.#flow.send(slab.bytes.subarray(0, size), slab);
      slab.release();
    }
  }
}

function accept(flow: TcpFlow): void {
  const n = flow.bPort - BASE_PORT;
  if (flow.open() === undefined) return;
  if (echoes(n)) {
    flow.join(new Echo(flow));
    return;
  }
  const maker = new Maker(flow, n);
  flow.join(maker);
  maker.output();
}

await mustRun(['ip', '-batch', '-'], { input: 'link set lo up\n' });
const { signal } = new AbortController();
const host = await startHelper({ observer: silentObserver, signal });
let stack: PacketStack | undefined;
try {
  const { fd } = await host.create({ ipv4: true, ipv6: true, mtu: MTU });
  const counted = { lost: 0 };
  const device = new FaultyDevice(new LinuxTun(fd, MTU, counted), {
    seed,
    loss: 0.02,
    duplication: 0.02,
    reordering: 0.03,
  });
  stack = new PacketStack({
    device,
    onFlow: accept,
    onDatagram: undefined,
    onGone: (errno) => wrong.push(`the device is gone: ${errno}`),
    families: new Set([4, 6] as const),
    clock: systemClock,
    router4: undefined,
    router6: undefined,
  });
  await host.setRoutes(
    ['203.0.113.0/24', '2001:db8:53::/48'].map((text) => parsePrefix(text).prefix),
  );
  const begin = performance.now();
  const { status, stdout, stderr } = await run(
    [process.execPath, CLIENT, String(flows), String(bytes), ...HOSTS],
    { timeout: 3_600_000 },
  );
  const milliseconds = Math.round(performance.now() - begin);
  const { counters } = stack;
  for (
    const end = performance.now() + SETTLE_MS;
    counters.flowsLive > 0 && performance.now() < end;
  )
    await delay(50);
  const { done } = device;
  process.stdout.write(
    `${JSON.stringify({ milliseconds, done, counted, wrong, counters, slabs: slabs.live })}\n`,
  );
  assert.equal(status, 0, stdout + stderr);
  assert.deepEqual(wrong, []);
  assert.equal(counters.flowsOpened, flows);
  assert.deepEqual([counters.flowsHeld, counters.flowsLive, counters.droppedMalformed], [0, 0, 0]);
  assert.equal(slabs.live, 0, 'no slab is held');
  assert.ok(done.lost > 0 && done.reordered > 0 && done.duplicated > 0);
} finally {
  stack?.close();
  await host.close();
}
