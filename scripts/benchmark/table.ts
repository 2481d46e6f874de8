/** The figures of docs/measurements.md: what was to be reached, and all that was measured. */
import type { Judgement, Target } from './measurement.ts';
import type { Result, Results } from './results.ts';
import { figure, median } from './statistics.ts';

const BEGIN = '<!-- begin of figures -->';
const END = '<!-- end of figures -->';

export function targetText(target: Target): string {
  return 'atLeast' in target ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`;
}

function cell(values: readonly number[] | undefined): string {
  if (values === undefined) return '';
  if (values.length === 1) return figure(median(values));
  return `${figure(median(values))} (${figure(Math.min(...values))}–${figure(Math.max(...values))})`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`;
}

/** Every check of every measurement, with what came of it. */
export function summary(results: Results): string {
  const judged = Object.values(results.measurements).flatMap((result) => result.judgements);
  const line = (judgement: Judgement) =>
    row([
      judgement.what,
      targetText(judgement.target),
      figure(judgement.value),
      `${figure(judgement.least)}–${figure(judgement.most)}`,
      String(judgement.runs),
      judgement.met ? 'met' : '**not met**',
    ]);
  return [
    '| figure | target | measured | spread | runs | |',
    '|---|---:|---:|---:|---:|---|',
    ...judged.map(line),
  ].join('\n');
}

function details(result: Result): string {
  const series = [...new Set(Object.values(result.samples).flatMap((bySeries) => Object.keys(bySeries)))];
  return [
    `### ${result.title}`,
    '',
    `${result.how} ${result.date}, ${result.rounds} ${result.rounds === 1 ? 'round' : 'rounds'}, rates over ${result.seconds} s.`,
    '',
    row(['', ...series]),
    `|---|${series.map(() => '---:|').join('')}`,
    ...Object.entries(result.samples).map(([name, bySeries]) =>
      row([name, ...series.map((peer) => cell(bySeries[peer]))]),
    ),
  ].join('\n');
}

/** All that stands between the markers. */
export function figures(results: Results): string {
  const all = Object.values(results.measurements);
  const machines = [...new Set(all.map((result) => result.machine))];
  const met = all.flatMap((result) => result.judgements).map((judgement) => judgement.met);
  return [
    `${machines.join('; ')}. ${met.filter(Boolean).length} of ${met.length} targets met.`,
    '',
    summary(results),
    '',
    'Values are of medians over the runs; the spread is the least and the most that single runs give.',
    '',
    '![How much of each target is reached](measurements.svg)',
    '',
    ...all.flatMap((result) => [details(result), '']),
  ].join('\n');
}

/** The document with new figures between its markers. Throws when they are missing: what is around them is written by hand. */
export function insertFigures(document: string, text: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`the document lacks "${BEGIN}" and "${END}"`);
  return `${document.slice(0, begin + BEGIN.length)}\n${text}${document.slice(end)}`;
}
