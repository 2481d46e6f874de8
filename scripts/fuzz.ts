/**
 * Fuzzes the parsers and state machines in TypeScript (test/fuzz/targets) and the parts in C
 * (native/fuzz), each in turn for the same time.
 *
 *   fuzz.js SECONDS SEED KEEP [TARGET...]      KEEP: 1: what reaches something new joins the corpus
 *
 * Prints a line for each. A finding is written into the corpus, in its shortest form; the exit
 * status is then 1.
 */
import { corpusOf, keep, TARGETS } from '../test/fuzz/corpus.ts';
import { fuzz, shrink } from '../test/fuzz/engine.ts';
import {
  fuzzNative,
  NATIVE_TARGETS,
  type NativeResult,
  type NativeTarget,
  nativeUnavailable,
} from '../test/fuzz/native.ts';
import { closeProxy } from '../test/fuzz/targets/proxies.ts';

const [seconds = '60', seed = '1', keeps = '0', ...names] = process.argv.slice(2);
const known = [...TARGETS, ...NATIVE_TARGETS].map(({ name }) => name);
const unknown = names.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  process.stderr.write(
    `scripts/fuzz: no target ${unknown.join(', ')}\nhint: ${known.join(', ')}\n`,
  );
  process.exit(2);
}
const isChosen = ({ name }: { readonly name: string }): boolean =>
  names.length === 0 || names.includes(name);
const chosen = TARGETS.filter(isChosen);
let chosenNative = NATIVE_TARGETS.filter(isChosen);
const why = nativeUnavailable();
if (why !== undefined && chosenNative.length > 0) {
  process.stderr.write(`scripts/fuzz: left out, the parts in C: ${why}\n`);
  if (chosen.length === 0) process.exit(1);
  chosenNative = [];
}
const share = Number(seconds) / (chosen.length + chosenNative.length);

for (const target of chosen) {
  const corpus = corpusOf(target);
  const { runs, added, blocks, finding } = await fuzz(target, {
    seed: Number(seed),
    runs: Number.POSITIVE_INFINITY,
    milliseconds: share * 1000,
    corpus,
  });
  if (keeps === '1') for (const input of added) keep(target, input);
  print(target.name, runs, `${blocks} blocks`, corpus.length, added.length, finding);
  if (finding === undefined) continue;
  const { input, error } = await shrink(target, finding);
  process.exitCode = 1;
  process.stdout.write(`${error.stack}\n${keep(target, input, 'found-')}\n`);
}
await closeProxy();

for (const target of chosenNative) {
  const corpus = corpusOf(target).length;
  const options = { seconds: Math.max(1, Math.round(share)), seed: Number(seed) };
  const { runs, added, edges, finding } = await fuzzNative(target, options);
  if (keeps === '1') for (const input of added) keep(target, input);
  print(target.name, runs, `${edges} edges`, corpus, added.length, finding);
  if (finding === undefined) continue;
  process.exitCode = 1;
  process.stdout.write(`${finding.report}\n${keepFinding(target, finding)}\n`);
}

function keepFinding(target: NativeTarget, { input }: NonNullable<NativeResult['finding']>) {
  return input === undefined ? 'no input of it was kept' : keep(target, input, 'found-');
}

function print(
  name: string,
  runs: number,
  reached: string,
  corpus: number,
  added: number,
  finding: unknown,
): void {
  const found = finding === undefined ? 'nothing found' : 'FOUND';
  process.stdout.write(
    `${name.padEnd(18)} ${String(runs).padStart(9)} inputs, ${reached}, corpus ${corpus} + ${added}: ${found}\n`,
  );
}
