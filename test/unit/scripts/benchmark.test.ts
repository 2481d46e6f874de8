import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  attained,
  type Check,
  isMet,
  judge,
  Recorder,
  type Target,
} from '../../../scripts/benchmark/measurement.ts';
import { plot } from '../../../scripts/benchmark/plot.ts';
import { formatResults, merge, parseResults, type Result } from '../../../scripts/benchmark/results.ts';
import { figure, median, percentile } from '../../../scripts/benchmark/statistics.ts';
import { figures, insertFigures, summary } from '../../../scripts/benchmark/table.ts';

const RATIO: Check = {
  what: 'tunnel / <peer> | "up"',
  target: { atLeast: 0.9 },
  value: (read) => read('up', 'tunnel') / read('up', 'peer'),
};

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
  it('takes the value from the medians and the spread from the rounds', () => {
    const judgement = judge(RATIO, { up: { tunnel: [10, 20, 90], peer: [20, 10, 100] } });
    assert.equal(judgement.value, 1);
    assert.equal(judgement.least, 0.5);
    assert.equal(judgement.most, 2);
    assert.equal(judgement.runs, 3);
    assert.equal(judgement.met, true);
  });

  it('counts only rounds that all have', () => {
    assert.equal(judge(RATIO, { up: { tunnel: [1, 1, 1], peer: [1, 2] } }).runs, 2);
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

  it('a partial run replaces its own measurements and keeps the others, in their order', () => {
    const second = merge({ measurements: {} }, 'second', result([1], [1]), names);
    const both = merge(second, 'first', result([2], [1]), names);
    assert.deepEqual(Object.keys(both.measurements), names);
    const again = merge(both, 'second', result([3], [1]), names);
    assert.deepEqual(Object.keys(again.measurements), names);
    assert.equal(again.measurements['second']?.judgements[0]?.value, 3);
    assert.equal(again.measurements['first'], both.measurements['first']);
  });

  it('reads what it has written, and leaves out what is not measured any more', () => {
    const both = merge(
      merge({ measurements: {} }, 'first', result([2, 4], [1, 1]), names),
      'second',
      result([1], [1]),
      names,
    );
    assert.deepEqual(parseResults(formatResults(both), names), both);
    assert.deepEqual(Object.keys(parseResults(formatResults(both), ['second']).measurements), ['second']);
    assert.deepEqual(parseResults('{"rows": []}', names), { measurements: {} });
  });

  it('writes samples on one line, with four digits', () => {
    const text = formatResults(merge({ measurements: {} }, 'first', result([1.23456, 2e-7], [1, 2]), names));
    assert.match(text, /"tunnel": \[1\.235, 2e-7\]/);
  });
});

describe('report', () => {
  const results = {
    measurements: { first: result([1, 2], [1, 1]), second: result([0.5], [1]) },
  };

  it('lists every judgement with its target and what came of it', () => {
    const lines = summary(results).split('\n');
    assert.equal(lines.length, 4);
    assert.match(lines[2] ?? '', /\| ≥ 0\.9 \| 1\.50 \| 1\.00–2\.00 \| 2 \| met \|$/);
    assert.match(lines[3] ?? '', /\| 0\.50 \| 0\.50–0\.50 \| 1 \| \*\*not met\*\* \|$/);
    assert.match(lines[2] ?? '', /<peer> \\\| "up"/);
  });

  it('puts the figures between the markers and leaves the rest alone', () => {
    const document = 'before\n<!-- begin of figures -->\nold\n<!-- end of figures -->\nafter $& $1\n';
    const once = insertFigures(document, figures(results));
    assert.ok(once.startsWith('before\n<!-- begin of figures -->\na machine. 1 of 2 targets met.\n'));
    assert.ok(once.endsWith('<!-- end of figures -->\nafter $& $1\n'));
    assert.ok(!once.includes('old'));
    assert.equal(insertFigures(once, figures(results)), once);
    assert.throws(() => insertFigures('no markers', 'text'), /lacks/);
  });
});

describe('plot', () => {
  const draw = (value: number) =>
    plot({
      measurements: {
        only: { ...result([value], [1]), judgements: [judge(RATIO, { up: { tunnel: [value], peer: [1] } })] },
      },
    });
  const bar = (svg: string) => {
    const [, kind, x, width] = svg.match(/<rect class="(met|missed)" x="([\d.]+)" width="([\d.]+)"/) ?? [];
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
