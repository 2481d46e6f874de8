/**
 * Fuzzes the parsers and state machines in TypeScript (test/fuzz/targets), each in turn, until the
 * time is over.
 *
 *   fuzz.js SECONDS SEED KEEP [TARGET...]      KEEP: 1: what reaches something new joins the corpus
 *
 * Prints a line for each. A finding is written into the corpus, in its shortest form; the exit
 * status is then 1.
 */
import { corpusOf, keep, TARGETS } from '../test/fuzz/corpus.ts';
import { fuzz, shrink } from '../test/fuzz/engine.ts';
import { closeProxy } from '../test/fuzz/targets/proxies.ts';

const [seconds = '60', seed = '1', keeps = '0', ...names] = process.argv.slice(2);
const unknown = names.filter((name) => !TARGETS.some((target) => target.name === name));
if (unknown.length > 0) {
  process.stderr.write(
    `scripts/fuzz: no target ${unknown.join(', ')}\nhint: ${TARGETS.map(({ name }) => name).join(', ')}\n`,
  );
  process.exit(2);
}
const chosen = TARGETS.filter(({ name }) => names.length === 0 || names.includes(name));

for (const target of chosen) {
  const corpus = corpusOf(target);
  const { runs, added, blocks, finding } = await fuzz(target, {
    seed: Number(seed),
    runs: Number.POSITIVE_INFINITY,
    milliseconds: (Number(seconds) * 1000) / chosen.length,
    corpus,
  });
  if (keeps === '1') for (const input of added) keep(target, input);
  const found = finding === undefined ? 'nothing found' : 'FOUND';
  process.stdout.write(
    `${target.name.padEnd(18)} ${String(runs).padStart(9)} inputs, ${blocks} blocks, corpus ${corpus.length} + ${added.length}: ${found}\n`,
  );
  if (finding === undefined) continue;
  const { input, error } = await shrink(target, finding);
  process.exitCode = 1;
  process.stdout.write(`${error.stack}\n${keep(target, input, 'found-')}\n`);
}
await closeProxy();
