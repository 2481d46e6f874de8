import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  attained,
  type Check,
  isMet,
  judge,
  judgeAvailable,
  type Measurement,
  Recorder,
  type Target,
} from '../../../scripts/benchmark/measurement.ts';
import { plot } from '../../../scripts/benchmark/plot.ts';
import {
  byMeasurement,
  formatResults,
  keyOf,
  merge,
  parseResults,
  type Result,
} from '../../../scripts/benchmark/results.ts';
import {
  figure,
  median,
  medianInterval,
  percentile,
} from '../../../scripts/benchmark/statistics.ts';
import { figures, insertFigures, summary } from '../../../scripts/benchmark/table.ts';

const RATIO: Check = {
  what: 'tunnel / <peer> | "up"',
  target: { atLeast: 0.9 },
  value: (read) => read('up', 'tunnel') / read('up', 'peer'),
};

function measurement(name: string): Measurement {
  return {
    name,
    title: 'Up',
    how: 'How.',
    besideNoise: true,
    rounds: 1,
    checks: [RATIO],
    run: async () => undefined,
  };
}

function result(tunnel: number[], peer: number[]): Result {
  const samples = { up: { tunnel, peer } };
  return {
    title: 'Up',
    how: 'How.',
    date: '2026-11-22',
    machine: 'a machine',
    rounds: tunnel.length,
    seconds: 2,
    samples,
    judgements: [judge(RATIO, samples)],
  };
}

describe('statistics', () => {
  it('takes the middle, or the mean of the two in the middle', () => {
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1, 2, 3]), 2.5);
    assert.ok(Number.isNaN(median([])));
  });

  it('interpolates percentiles and leaves its argument as it is', () => {
    const values = [30, 10, 20];
    assert.equal(percentile(values, 0), 10);
    assert.equal(percentile(values, 1), 30);
    assert.equal(percentile(values, 0.75), 25);
    assert.deepEqual(values, [30, 10, 20]);
  });

  it('a percentile lies among the values and grows with its part', () => {
    const finite = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e9, max: 1e9 });
    const part = fc.double({ noNaN: true, min: 0, max: 1 });
    fc.assert(
      fc.property(fc.array(finite, { minLength: 1 }), part, part, (values, a, b) => {
        const low = percentile(values, Math.min(a, b));
        const high = percentile(values, Math.max(a, b));
        const slack = 1e-6;
        assert.ok(low <= high + slack);
        assert.ok(low >= Math.min(...values) - slack && high <= Math.max(...values) + slack);
      }),
    );
  });

  it('takes all values for an interval that fewer than six give, and says how little that is', () => {
    assert.deepEqual(medianInterval([3]), { low: 3, high: 3, confidence: 0 });
    assert.deepEqual(medianInterval([3, 1, 2]), { low: 1, high: 3, confidence: 0.75 });
    assert.deepEqual(medianInterval([]), { low: Number.NaN, high: Number.NaN, confidence: 0 });
  });

  it('leaves out as many of the least and the most as 95 % allow', () => {
    // From tables of the sign test: n, and which value from below the interval begins with.
    for (const [count, first] of [
      [6, 1],
      [8, 1],
      [9, 2],
      [12, 3],
      [20, 6],
      [40, 14],
    ] as const) {
      const { low, high, confidence } = medianInterval(
        Array.from({ length: count }, (_, i) => count - i),
      );
      assert.deepEqual([low, high], [first, count + 1 - first], `${count} values`);
      assert.ok(confidence >= 0.95 && confidence < 1);
    }
    assert.ok(Math.abs(medianInterval([1, 2, 3, 4, 5, 6, 7, 8, 9]).confidence - 0.9609) < 1e-4);
  });

  it('an interval holds the median of its values', () => {
    const finite = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e9, max: 1e9 });
    fc.assert(
      fc.property(fc.array(finite, { minLength: 1, maxLength: 60 }), (values) => {
        const { low, high } = medianInterval(values);
        return low <= median(values) && median(values) <= high;
      }),
    );
  });

  it('writes three digits', () => {
    assert.deepEqual([1234.5, 99.96, 99.94, 9.996, 0.5, Number.NaN].map(figure), [
      '1235',
      '100',
      '99.9',
      '10.0',
      '0.50',
      '-',
    ]);
  });
});

describe('judging', () => {
  it('takes the median of the ratios of the pairs, not the ratio of the medians', () => {
    // The machine is ten times as fast in the last round: the ratio of the medians would be 1.5.
    const judgement = judge(RATIO, { up: { tunnel: [10, 30, 80], peer: [20, 10, 100] } });
    assert.equal(judgement.value, 0.8);
    assert.equal(judgement.low, 0.5);
    assert.equal(judgement.high, 3);
    assert.equal(judgement.pairs, 3);
    assert.equal(judgement.met, false);
  });

  it('tells whether the whole interval lies on one side of the target', () => {
    const of = (...tunnel: number[]) => {
      const { met, clearly } = judge(RATIO, { up: { tunnel, peer: tunnel.map(() => 1) } });
      return { met, clearly };
    };
    assert.deepEqual(of(1, 1, 0.95), { met: true, clearly: true });
    assert.deepEqual(of(1, 1, 0.5), { met: true, clearly: false });
    assert.deepEqual(of(0.6, 0.7, 0.5), { met: false, clearly: true });
    assert.deepEqual(of(0.6, 0.95, 0.5), { met: false, clearly: false });
  });

  it('judges what the samples allow', () => {
    const other: Check = { ...RATIO, what: 'other', value: (read) => read('down', 'tunnel') };
    const judged = judgeAvailable([other, RATIO], { up: { tunnel: [1], peer: [1] } });
    assert.deepEqual(
      judged.map(({ what }) => what),
      [RATIO.what],
    );
    const broken: Check = {
      ...RATIO,
      value: () => {
        throw new Error('broken');
      },
    };
    assert.throws(() => judgeAvailable([broken], {}), /broken/);
  });

  it('counts only rounds that all have', () => {
    assert.equal(judge(RATIO, { up: { tunnel: [1, 1, 1], peer: [1, 2] } }).pairs, 2);
  });

  it('says what was not measured', () => {
    assert.throws(() => judge(RATIO, { up: { tunnel: [1] } }), /needs "up" of peer/);
  });

  it('is met exactly when the target is attained, both ways, and never by a value that is none', () => {
    for (const target of [{ atLeast: 2 }, { atMost: 2 }] satisfies Target[]) {
      for (const value of [0.5, 1.99, 2, 2.01, 8])
        assert.equal(isMet(value, target), attained(value, target) >= 1);
      assert.equal(isMet(Number.NaN, target), false);
    }
  });

  it('records by figure and series, in order', () => {
    const said: string[] = [];
    const recorder = new Recorder((text) => said.push(text));
    recorder.record('up', 'tunnel', 1);
    recorder.record('up', 'tunnel', 2);
    recorder.record('up', 'peer', 3);
    assert.deepEqual(recorder.samples, { up: { tunnel: [1, 2], peer: [3] } });
    assert.equal(said.length, 3);
  });
});

describe('results', () => {
  const names = ['first', 'second'];
  const known = names.map(measurement);

  it('a partial run replaces its own measurements and keeps the others, in their order', () => {
    const second = merge({ measurements: {} }, 'second', result([1], [1]), known);
    const both = merge(second, 'first', result([2], [1]), known);
    assert.deepEqual(Object.keys(both.measurements), names);
    const again = merge(both, 'second', result([3], [1]), known);
    assert.deepEqual(Object.keys(again.measurements), names);
    assert.equal(again.measurements['second']?.judgements[0]?.value, 3);
    assert.equal(again.measurements['first'], both.measurements['first']);
  });

  it('reads what it has written, and leaves out what is not measured any more', () => {
    const both = merge(
      merge({ measurements: {} }, 'first', result([2, 4], [1, 1]), known),
      'second',
      result([1], [1]),
      known,
    );
    assert.deepEqual(parseResults(formatResults(both), known), both);
    assert.deepEqual(Object.keys(parseResults(formatResults(both), known.slice(1)).measurements), [
      'second',
    ]);
    assert.deepEqual(parseResults('{"rows": []}', known), { measurements: {} });
  });

  it('writes samples on one line, with four digits', () => {
    const text = formatResults(
      merge({ measurements: {} }, 'first', result([1.23456, 2e-7], [1, 2]), known),
    );
    assert.match(text, /"tunnel": \[1\.235, 2e-7\]/);
  });

  it('keeps a run beside noise beside the quiet one', () => {
    const noisy = keyOf('first', true);
    const results = merge(
      merge({ measurements: {} }, noisy, result([1], [2]), known),
      'second',
      result([1], [1]),
      known,
    );
    const all = merge(results, keyOf('first', false), result([1], [1]), known);
    assert.deepEqual(Object.keys(all.measurements), ['first', noisy, 'second']);
    const values = byMeasurement(all).map(({ quiet, noisy: beside }) =>
      [quiet, beside].map((each) => each?.judgements[0]?.value),
    );
    assert.deepEqual(values, [
      [1, 0.5],
      [1, undefined],
    ]);
    assert.deepEqual(parseResults(formatResults(all), known), all);
  });

  it("judges former runs by today's targets", () => {
    const text = formatResults(merge({ measurements: {} }, 'first', result([1], [1]), known));
    const stricter = { ...measurement('first'), checks: [{ ...RATIO, target: { atLeast: 1.1 } }] };
    assert.equal(parseResults(text, [stricter]).measurements['first']?.judgements[0]?.met, false);
  });
});

describe('report', () => {
  const results = {
    measurements: { first: result([1, 2], [1, 1]), second: result([0.5], [1]) },
  };

  it('lists every judgement with its target and what came of it', () => {
    const lines = summary(results).split('\n');
    assert.equal(lines.length, 4);
    assert.match(
      lines[2] ?? '',
      /\| ≥ 0\.9 \| 1\.50 \| 1\.00–2\.00 \| 2 \| met \| {2}\| {2}\| {2}\| {2}\|$/,
    );
    assert.match(lines[3] ?? '', /\| 0\.50 \| 0\.50–0\.50 \| 1 \| \*\*not met\*\* \|/);
    assert.match(lines[2] ?? '', /<peer> \\\| "up"/);
  });

  it('has quiet and noisy values side by side, and those that are not sure say so', () => {
    const both = {
      measurements: {
        first: result([1], [1]),
        [keyOf('first', true)]: result([0.5, 0.6, 2], [1, 1, 1]),
      },
    };
    const lines = summary(both).split('\n');
    assert.equal(lines.length, 3);
    assert.match(
      lines[2] ?? '',
      /\| 1\.00 \| 1\.00–1\.00 \| 1 \| met \| 0\.60 \| 0\.50–2\.00 \| 3 \| \*\*not met\*\*, narrowly \|$/,
    );
    const columns = (line: string | undefined) => line?.replaceAll('\\|', '').split('|').length;
    assert.deepEqual(lines.map(columns), [12, 12, 12]);
    const text = figures(both);
    assert.equal(text.match(/^### Up$/gm)?.length, 1);
    assert.match(text, /^Quiet: .*[\s\S]*^Beside noise: .*, 3 rounds/m);
  });

  it('puts the figures between the markers and leaves the rest alone', () => {
    const document =
      'before\n<!-- begin of figures -->\nformer\n<!-- end of figures -->\nafter $& $1\n';
    const once = insertFigures(document, figures(results));
    assert.ok(
      once.startsWith('before\n<!-- begin of figures -->\na machine. 1 of 2 targets met.\n'),
    );
    assert.ok(once.endsWith('<!-- end of figures -->\nafter $& $1\n'));
    assert.ok(!once.includes('former'));
    assert.equal(insertFigures(once, figures(results)), once);
    assert.throws(() => insertFigures('no markers', 'text'), /lacks/);
  });
});

describe('plot', () => {
  const draw = (value: number) =>
    plot({
      measurements: {
        only: {
          ...result([value], [1]),
          judgements: [judge(RATIO, { up: { tunnel: [value], peer: [1] } })],
        },
      },
    });
  const bar = (svg: string) => {
    const [, kind, x, width] =
      svg.match(/<rect class="(met|missed)" x="([\d.]+)" width="([\d.]+)"/) ?? [];
    return { kind, x: Number(x), width: Number(width) };
  };
  const target = (svg: string) => Number(svg.match(/<line class="target" x1="([\d.]+)"/)?.[1]);

  it('draws what meets the target to the right of its line and the rest to the left', () => {
    const good = draw(1.8);
    assert.equal(bar(good).kind, 'met');
    assert.equal(bar(good).x, target(good));
    const bad = draw(0.45);
    assert.equal(bar(bad).kind, 'missed');
    assert.ok(Math.abs(bar(bad).x + bar(bad).width - target(bad)) < 0.11);
    assert.ok(Math.abs(bar(good).width - bar(bad).width) < 0.11, 'twice and half are equally far');
  });

  it('draws a ring for what came of it beside noise', () => {
    const svg = plot({
      measurements: { only: result([0.45], [1]), [keyOf('only', true)]: result([1.8], [1]) },
    });
    assert.equal(bar(svg).kind, 'missed');
    const ring = Number(svg.match(/<circle class="noisy" cx="([\d.]+)"/)?.[1]);
    assert.ok(
      Math.abs(ring - target(svg) - bar(svg).width) < 0.2,
      'as far to the right as the bar to the left',
    );
  });

  it('ends at its edge', () => {
    assert.equal(bar(draw(1000)).width, bar(draw(10)).width);
    assert.ok(bar(draw(0)).x > 0);
  });

  it('is XML whatever the texts are', () => {
    const svg = draw(1);
    assert.ok(svg.includes('tunnel / &lt;peer&gt; | &quot;up&quot;'));
    assert.ok(!svg.includes('NaN'));
  });
});
