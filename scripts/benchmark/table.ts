/** The figures of docs/measurements.md: the targets, and everything that was measured. */
import type { Judgement, Target } from './measurement.ts';
import { byMeasurement, type Result, type Results } from './results.ts';
import { figure, median } from './statistics.ts';

const BEGIN = '<!-- begin of figures -->';
const END = '<!-- end of figures -->';

const EXPLANATION = `Each value is the median over pairs of runs, one after the other on the same machine. \
With six pairs or more the interval contains the median with 95 % confidence; with fewer it spans all values. \
"Narrowly": the target lies within the interval. Beside noise: while a process burns half of one processor.`;

const COLUMNS = 100;

/** Prose in lines of at most COLUMNS characters, as all documents are written. */
function wrapped(prose: string): string {
  const lines: string[] = [];
  for (const word of prose.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > COLUMNS) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.join('\n');
}

export function targetText(target: Target): string {
  return 'atLeast' in target ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`;
}

export function outcome({ met, clearly }: Judgement): string {
  return `${met ? 'met' : '**not met**'}${clearly ? '' : ', narrowly'}`;
}

function cell(values: readonly number[] | undefined): string {
  if (values === undefined) return '';
  if (values.length === 1) return figure(median(values));
  return `${figure(median(values))} (${figure(Math.min(...values))}–${figure(Math.max(...values))})`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`;
}

function columns(judgement: Judgement | undefined): string[] {
  if (judgement === undefined) return ['', '', '', ''];
  const { value, low, high, pairs } = judgement;
  return [figure(value), `${figure(low)}–${figure(high)}`, String(pairs), outcome(judgement)];
}

/** A target, with its results on a quiet machine and beside noise. */
export interface Line {
  readonly what: string;
  readonly target: Target;
  readonly quiet: Judgement | undefined;
  readonly noisy: Judgement | undefined;
}

export function judgedLines(results: Results): Line[] {
  return byMeasurement(results).flatMap(({ quiet, noisy }) => {
    const judgements = [...(quiet?.judgements ?? []), ...(noisy?.judgements ?? [])];
    const named = new Map(judgements.map((judgement) => [judgement.what, judgement.target]));
    const of = (result: Result | undefined, what: string) =>
      result?.judgements.find((judgement) => judgement.what === what);
    return [...named].map(([what, target]) => ({
      what,
      target,
      quiet: of(quiet, what),
      noisy: of(noisy, what),
    }));
  });
}

/** Every check of every measurement, with its result. */
export function summary(results: Results): string {
  return [
    '| figure | target | quiet | interval | pairs | | beside noise | interval | pairs | |',
    '|---|---:|---:|---:|---:|---|---:|---:|---:|---|',
    ...judgedLines(results).map(({ what, target, quiet, noisy }) =>
      row([what, targetText(target), ...columns(quiet), ...columns(noisy)]),
    ),
  ].join('\n');
}

function samplesTable(result: Result, condition: string): string {
  const series = [
    ...new Set(Object.values(result.samples).flatMap((bySeries) => Object.keys(bySeries))),
  ];
  return [
    `${condition}: ${result.date}, ${result.rounds} ${result.rounds === 1 ? 'round' : 'rounds'}, rates over ${result.seconds} s.`,
    '',
    row(['', ...series]),
    `|---|${series.map(() => '---:|').join('')}`,
    ...Object.entries(result.samples).map(([name, bySeries]) =>
      row([name, ...series.map((peer) => cell(bySeries[peer]))]),
    ),
    '',
  ].join('\n');
}

function details({
  quiet,
  noisy,
}: {
  quiet: Result | undefined;
  noisy: Result | undefined;
}): string {
  const any = quiet ?? noisy;
  if (any === undefined) return '';
  return [
    `### ${any.title}`,
    '',
    wrapped(any.how),
    '',
    ...(quiet === undefined ? [] : [samplesTable(quiet, 'Quiet')]),
    ...(noisy === undefined ? [] : [samplesTable(noisy, 'Beside noise')]),
  ].join('\n');
}

/** Everything between the markers. */
export function figures(results: Results): string {
  const all = Object.values(results.measurements);
  const machines = [...new Set(all.map((result) => result.machine))];
  const met = all.flatMap((result) => result.judgements).map((judgement) => judgement.met);
  return [
    wrapped(`${machines.join('; ')}. ${met.filter(Boolean).length} of ${met.length} targets met.`),
    '',
    summary(results),
    '',
    wrapped(EXPLANATION),
    '',
    '![How much of each target is reached](measurements.svg)',
    '',
    ...byMeasurement(results).map(details),
  ].join('\n');
}

/**
 * The document with new figures between its markers. Throws when they are missing: the text around
 * them is written by hand.
 */
export function insertFigures(document: string, text: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`the document lacks "${BEGIN}" and "${END}"`);
  return `${document.slice(0, begin + BEGIN.length)}\n${text}${document.slice(end)}`;
}
