import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseCommandLine, UsageError } from '../../../scripts/benchmark/commandline.ts';
import { contenders } from '../../../scripts/benchmark/contenders.ts';
import type { Measurement } from '../../../scripts/benchmark/measurement.ts';
import { pauses } from '../../../scripts/benchmark/pauses.ts';
import type { Peer } from '../../../scripts/benchmark/peers.ts';

const measurement = (name: string, besideNoise: boolean): Measurement => ({
  ...{ name, besideNoise, title: '', how: '', rounds: 1, checks: [] },
  run: async () => undefined,
});
const KNOWN = [
  measurement('local', true),
  measurement('memory', false),
  measurement('start', true),
];

/** `name` or `name~` (beside noise) for each job; otherwise what is to be done. */
function asked(...argv: string[]): string {
  const request = parseCommandLine(argv, KNOWN);
  if (request.do === 'measure')
    return request.jobs
      .map(({ measurement: { name }, noise }) => (noise ? `${name}~` : name))
      .join(' ');
  return request.do === 'profile' ? `profile ${request.measurement.name}` : request.do;
}

describe('the command line of the benchmark', () => {
  it('measures everything in both ways without names', () => {
    assert.equal(asked(), 'local local~ memory start start~');
  });

  it('measures what is named, in the order of the table', () => {
    assert.equal(asked('start', 'local'), 'local start');
    assert.equal(asked('--noise', 'start'), 'start~');
    assert.equal(asked('start', '--noise'), 'start~');
    assert.equal(asked('--noise'), 'local~ start~');
  });

  it('profiles one, and writes without measuring', () => {
    assert.equal(asked('--profile', 'memory'), 'profile memory');
    assert.equal(asked('--write'), 'write');
  });

  it('says what is wrong', () => {
    const wrong: [string[], RegExp][] = [
      [['lokal'], /no measurement lokal; there are local, memory, start/],
      [['--noise', 'memory'], /memory has no peer/],
      [['--profile'], /name of one/],
      [['--profile', 'local', 'start'], /name of one/],
      [['--write', 'local'], /usage/],
      [['--loud'], /usage/],
      [['--noise', '--profile', 'local'], /one option/],
    ];
    for (const [argv, message] of wrong) {
      assert.throws(
        () => asked(...argv),
        (error) => error instanceof UsageError && message.test(error.message),
        argv.join(' '),
      );
    }
  });
});

describe('who takes part in a round', () => {
  const peer = (name: string, own?: true): Peer => ({
    ...{ name, route: { host: '', port: 0 }, start: async () => undefined },
    ...(own === undefined ? {} : { own }),
  });
  const judged = [peer('a', true), peer('b')];
  const others = [peer('c')];
  const names = (round: number, noise: boolean) =>
    contenders(round, { noise, profiler: undefined }, judged, others)
      .map(({ name }) => name)
      .join('');

  it('takes turns, and leaves the others out after some rounds and beside noise', () => {
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((round) => names(round, false)),
      ['abc', 'bac', 'abc', 'ba', 'ab'],
    );
    assert.deepEqual(
      [0, 1].map((round) => names(round, true)),
      ['ab', 'ba'],
    );
  });
});

describe('pauses', () => {
  it('are the same for the same seed, others for another, and spread over their range', () => {
    assert.deepEqual(pauses(1), pauses(1));
    assert.notDeepEqual(pauses(1), pauses(2));
    const many = pauses(3, 10_000);
    assert.ok(many.every((pause) => pause >= 0 && pause < 10));
    const mean = many.reduce((sum, pause) => sum + pause, 0) / many.length;
    assert.ok(Math.abs(mean - 5) < 0.2, String(mean));
    for (let tenth = 0; tenth < 10; tenth++) {
      const share = many.filter((pause) => Math.floor(pause) === tenth).length / many.length;
      assert.ok(Math.abs(share - 0.1) < 0.02, `${tenth}: ${share}`);
    }
  });
});
