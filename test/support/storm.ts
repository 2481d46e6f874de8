/**
 * Load for the fault tests, run inside a namespace: `node storm.js HOST SECONDS WORKERS` makes
 * connections to HOST's echo port for that long, WORKERS at a time, one after the other; half of
 * them end on their own, half go on until something ends them. It prints one JSON value
 * (StormReport).
 */
import { connect } from 'node:net';
import { Port } from './addresses.ts';

export interface StormReport {
  /**
   * The times of all answered connects in ms, by outcome: `open`, or the error's code.
   */
  readonly connects: Readonly<Record<string, readonly number[]>>;
  /** How many open connections ended with a reset. */
  readonly resets: number;
  readonly bytes: number;
}

const CHUNK = Buffer.alloc(16 * 1024, 'storm ');
const SHORT_FLOW_BYTES = 256 * 1024;
/** The pause before it tries again after a refusal. */
const PAUSE_MS = 50;

const connects: Record<string, number[]> = {};
let resets = 0;
let bytes = 0;

/**
 * Makes one connection; resolves when it has ended. `endless`: it goes on until something else ends
 * it or the time is over.
 */
function flow(host: string, endless: boolean, deadline: number): Promise<void> {
  return new Promise((resolve) => {
    const begin = performance.now();
    const socket = connect({ host, port: Port.echo });
    let open = false;
    let received = 0;
    const record = (outcome: string) => {
      const times = connects[outcome] ?? [];
      connects[outcome] = times;
      times.push(Math.round(performance.now() - begin));
    };
    socket.on('connect', () => {
      open = true;
      record('open');
      socket.write(CHUNK);
    });
    socket.on('data', (chunk) => {
      received += chunk.length;
      bytes += chunk.length;
      if (performance.now() > deadline || (!endless && received >= SHORT_FLOW_BYTES))
        socket.destroy();
      else socket.write(chunk);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (open) resets++;
      else record(error.code ?? error.message);
    });
    socket.on('close', () => setTimeout(resolve, open ? 0 : PAUSE_MS));
  });
}

async function worker(host: string, endless: boolean, deadline: number): Promise<void> {
  while (performance.now() < deadline) await flow(host, endless, deadline);
}

const [host = '', seconds = '0', workers = '1'] = process.argv.slice(2);
const deadline = performance.now() + Number(seconds) * 1000;
await Promise.all(
  Array.from({ length: Number(workers) }, (_, i) => worker(host, i % 2 === 0, deadline)),
);
const report: StormReport = { connects, resets, bytes };
process.stdout.write(`${JSON.stringify(report)}\n`);
process.exit(0);
