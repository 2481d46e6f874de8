/**
 * docs/measurements.svg: how much of each target is reached, on a logarithmic scale with the target
 * in the middle. Bars to the right of the line meet it; a thin line is the interval, a ring the
 * result beside noise. Colours follow the reader's light or dark scheme; what they mean is also
 * written.
 */
import { attained, type Judgement } from './measurement.ts';
import type { Results } from './results.ts';
import { figure } from './statistics.ts';
import { judgedLines, type Line, targetText } from './table.ts';

const WIDTH = 1060;
const ROW = 22;
const TOP = 48;
const BOTTOM = 34;
/** The scale's part of the width; labels stand on its left, values on its right. */
const LEFT = 470;
const RIGHT = 800;
/** The radius of a ring. */
const RING = 4;
/** The scale reaches from 1/RANGE to RANGE times the target; bars beyond it end at its edge. */
const RANGE = 4;
const TICKS = [0.25, 0.5, 1, 2, 4] as const;

const STYLE = `
  .ground { fill: #ffffff } text { font: 12px system-ui, sans-serif; fill: #1f2328 } .head { font-size: 14px; font-weight: 600 }
  .soft { fill: #59636e } .grid { stroke: #d1d9e0 } .target { stroke: #1f2328; stroke-width: 2 }
  .met { fill: #1a7f64 } .missed { fill: #bc4c00 } .spread { stroke: #59636e; stroke-width: 1.5 } .noisy { fill: none; stroke: #1f2328; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #3d444d }
    .target { stroke: #e6edf3 } .met { fill: #3fb995 } .missed { fill: #f0883e } .spread { stroke: #c5cdd6 } .noisy { stroke: #e6edf3 }
  }`;

function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

/** The x coordinate of a multiple of the target. */
function position(multiple: number): number {
  const bounded = Math.min(RANGE, Math.max(1 / RANGE, multiple || 1 / RANGE));
  const part = (Math.log(bounded) + Math.log(RANGE)) / (2 * Math.log(RANGE));
  return Math.round((LEFT + part * (RIGHT - LEFT)) * 10) / 10;
}

function text(judgement: Judgement | undefined): string {
  return judgement === undefined
    ? '-'
    : `${figure(judgement.value)}${judgement.met ? '' : ', not met'}`;
}

function bar({ what, target, quiet, noisy }: Line, index: number): string {
  const y = TOP + index * ROW;
  const middle = y + ROW / 2;
  const value = `${text(quiet)} (${targetText(target)})${noisy === undefined ? '' : ` ∘ ${text(noisy)}`}`;
  return [
    `<text x="${LEFT - 10}" y="${middle + 4}" text-anchor="end">${escapeXml(what)}</text>`,
    ...(quiet === undefined ? [] : quietMarks(quiet, y)),
    ...(noisy === undefined
      ? []
      : [
          `<circle class="noisy" cx="${position(attained(noisy.value, target))}" cy="${middle}" r="${RING}"/>`,
        ]),
    `<text x="${RIGHT + 10}" y="${middle + 4}">${escapeXml(value)}</text>`,
  ].join('\n');
}

function quietMarks(judgement: Judgement, y: number): string[] {
  const middle = y + ROW / 2;
  const centre = position(1);
  const end = position(attained(judgement.value, judgement.target));
  const ends = [judgement.low, judgement.high].map((value) =>
    position(attained(value, judgement.target)),
  );
  const [from, to] = [Math.min(...ends), Math.max(...ends)];
  const width = Math.max(1, Math.abs(end - centre)).toFixed(1);
  return [
    `<rect class="${judgement.met ? 'met' : 'missed'}" x="${Math.min(centre, end)}" width="${width}" y="${y + 4}" height="${ROW - 8}"/>`,
    `<line class="spread" x1="${from}" y1="${middle}" x2="${to}" y2="${middle}"/>`,
  ];
}

export function plot(results: Results): string {
  const lines = judgedLines(results);
  const judged = Object.values(results.measurements).flatMap((result) => result.judgements);
  const foot = TOP + lines.length * ROW;
  const height = foot + BOTTOM;
  const tick = (multiple: number) => {
    const x = position(multiple);
    const label = multiple === 1 ? 'target' : `× ${multiple}`;
    return `<line class="${multiple === 1 ? 'target' : 'grid'}" x1="${x}" y1="${TOP - 4}" x2="${x}" y2="${foot + 4}"/>
<text class="soft" x="${x}" y="${foot + 20}" text-anchor="middle">${label}</text>`;
  };
  const grid = TICKS.filter((multiple) => multiple !== 1).map(tick);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">
<title>How much of each target is reached</title>
<desc>${judged.filter((judgement) => judgement.met).length} of ${judged.length} targets are met.</desc>
<style>${STYLE}
</style>
<rect class="ground" width="${WIDTH}" height="${height}"/>
<text class="head" x="16" y="26">How much of each target is reached</text>
<text class="soft" x="${RIGHT + 10}" y="26">measured (target) ∘ beside noise</text>
${[...grid, ...lines.map(bar), tick(1)].join('\n')}
</svg>
`;
}
