/**
 * Mutations of a recorded session: TUNNEL_FUZZ_SEED repeats a run, TUNNEL_LONG=1 makes it a hundred
 * times as long. A finding names the seed of its own connection; with that as TUNNEL_FUZZ_SEED and
 * TUNNEL_FUZZ_COUNT=1 it comes first.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Random, serveMutated } from '../support/hostile/mutations.ts';
import { newHostKey } from '../support/hostile/peer.ts';
import { startHostile } from '../support/hostile/run.ts';
import { Child } from '../support/process.ts';

const VICTIM = fileURLToPath(new URL('../support/hostile/fuzzvictim.js', import.meta.url));
const LONG = process.env['TUNNEL_LONG'] === '1';
const SEED = Number(process.env['TUNNEL_FUZZ_SEED'] ?? (LONG ? Date.now() % 2 ** 31 : 20261128));
const COUNT = Number(process.env['TUNNEL_FUZZ_COUNT'] ?? (LONG ? 4_000 : 40));
const LISTENERS = process.env['TUNNEL_FUZZ_COUNT'] === '1' ? 1 : 10;
const MOST_MIB = 160;

it(`mutated sessions, seed ${SEED}`, { timeout: LONG ? 3_600_000 : 90_000 }, async (context) => {
  const hostKey = newHostKey();
  const seedOf = (listener: number, number: number): number => SEED + listener * COUNT + number;
  const servers = await Promise.all(
    Array.from({ length: LISTENERS }, (_, listener) =>
      startHostile(
        // What the row does wrong is the point; only the client is judged.
        (peer, number) =>
          serveMutated(peer, new Random(seedOf(listener, number))).catch(() => undefined),
        hostKey,
      ),
    ),
  );
  const ports = servers.map(({ port }) => port);
  try {
    const pin = servers[0]?.pin ?? '';
    const victim = await Child.start([
      ...[process.execPath, VICTIM, pin, String(COUNT)],
      ...ports.map(String),
    ]);
    const ended = await victim.wait(LONG ? 3_600_000 : 80_000);
    const findings = victim.stdout
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => {
        const { port, number, what } = JSON.parse(line) as {
          readonly port: number;
          readonly number: number;
          readonly what: string;
        };
        return `TUNNEL_FUZZ_SEED=${seedOf(ports.indexOf(port), number)}: ${what}`;
      });
    assert.deepEqual(findings, []);
    assert.equal(victim.stderr, '');
    assert.equal(ended.status, 0);
    const [, peak = '', outcomes = ''] = /^done (\d+) (.*)$/m.exec(victim.stdout) ?? [];
    context.diagnostic(`${LISTENERS * COUNT} sessions, ${peak} MiB at the peak: ${outcomes}`);
    assert.ok(Number(peak) <= MOST_MIB, `${peak} MiB`);
    // The mutations reach every stage.
    if (COUNT > 1)
      for (const outcome of ['up', 'jumphost-protocol', 'jumphost-key-exchange', 'auth-failed'])
        assert.ok(outcomes.includes(`"${outcome}"`), outcome);
  } finally {
    for (const server of servers) server.close();
  }
});
