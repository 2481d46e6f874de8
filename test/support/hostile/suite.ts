/**
 * Makes tests of rows, each with its name. TUNNEL_HOSTILE_ROW, a regular expression, selects some:
 * `./scripts/hostile 'window overflow'`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { mustRun } from '../process.ts';
import type { LocalRow } from './local.ts';
import type { Row } from './row.ts';
import { runRow, type Usage } from './run.ts';
import { serve } from './server.ts';

/** At a time: most of a row is waiting. */
const CONCURRENCY = 4;

/** What the others are compared with. */
const GOOD: Row = {
  name: 'good server',
  does: 'nothing wrong',
  attack: async (peer) => {
    await peer.welcome();
    await serve(peer);
  },
  outcome: { kind: 'link stands', flow: 'works' },
  told: 'nothing',
};

/** The same for rows with trials of their own. `good`: what the others are compared with. */
export function describeLocalRows<R extends LocalRow>(
  what: string,
  all: readonly R[],
  good: R,
  run: (row: R, baseline: Usage) => Promise<Usage>,
): void {
  const wanted = new RegExp(process.env['TUNNEL_HOSTILE_ROW'] ?? '');
  const rows = all.filter(({ name }) => wanted.test(name));
  if (rows.length === 0) return;
  // One at a time: rows keep what their server has seen.
  describe(what, { timeout: 400_000 }, () => {
    let baseline: Usage = { peakMib: 0, cpuSeconds: 0 };
    before(async () => {
      const { peakMib, cpuSeconds } = await run(good, { peakMib: 1024, cpuSeconds: 60 });
      baseline = { peakMib, cpuSeconds };
    });
    for (const row of rows)
      it(row.name, async (context) => {
        const { peakMib, cpuSeconds } = await run(row, baseline);
        const memory = Math.max(0, peakMib - baseline.peakMib);
        const cpu = Math.max(0, cpuSeconds - baseline.cpuSeconds).toFixed(1);
        context.diagnostic(`${memory} MiB, ${cpu} s of CPU`);
      });
  });
}

export function describeRows(what: string, all: readonly Row[]): void {
  const wanted = new RegExp(process.env['TUNNEL_HOSTILE_ROW'] ?? '');
  const rows = all.filter(({ name }) => wanted.test(name));
  if (rows.length === 0) return;
  describe(what, { concurrency: CONCURRENCY, timeout: 240_000 }, () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-hostile-'));
    const keyFile = join(directory, 'key');
    let baseline: Usage = { peakMib: 0, cpuSeconds: 0 };
    before(async () => {
      await mustRun(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', keyFile]);
      baseline = await runRow(GOOD, { peakMib: 1024, cpuSeconds: 60 }, keyFile);
    });
    after(() => rmSync(directory, { recursive: true }));
    for (const row of rows)
      it(row.name, { ...(row.todo !== undefined && { todo: row.todo }) }, async (context) => {
        const { peakMib, cpuSeconds } = await runRow(row, baseline, keyFile);
        const memory = Math.max(0, peakMib - baseline.peakMib);
        context.diagnostic(`${memory} MiB, ${cpuSeconds.toFixed(1)} s of CPU`);
      });
  });
}
