import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ERRORS, type ErrorCode } from '../../../src/errors/codes.ts';
import {
  Backoff,
  dialPatience,
  EAGER_TRIES,
  EAGER_WAITS,
  type FailureKind,
  failureKind,
  LASTING_MS,
  LOGIN_SPACING_MS,
  SETTLED_MS,
  SILENT_EAGER_MS,
  WAITS,
} from '../../../src/link/backoff.ts';

const kinds = fc.constantFrom<FailureKind>(
  'silent',
  'refused',
  'dropped',
  'unidentified',
  'slow',
  'punished',
  'login',
);
const fraction = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const outage = fc.integer({ min: 0, max: 4 * SILENT_EAGER_MS });

describe('backoff', () => {
  it('stays between its floor and its ceiling, and is no longer while somebody waits', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(kinds, fraction, outage), { minLength: 1 }), (failures) => {
        let random = 0;
        let punishes = false;
        const backoff = new Backoff(() => random);
        for (const [kind, value, downFor] of failures) {
          random = value;
          const { patient, eager } = backoff.failed(kind, downFor);
          punishes ||= kind === 'punished' || kind === 'login';
          const counted = kind === 'unidentified' && punishes ? 'punished' : kind;
          const { floor, ceiling } =
            kind === 'silent' && downFor >= SILENT_EAGER_MS ? WAITS.slow : WAITS[counted];
          assert.ok(patient >= floor && patient <= ceiling, `${kind}: ${patient}`);
          assert.ok(eager <= patient && eager > 0, `${kind}: ${eager} of ${patient}`);
          if (counted === 'punished' || kind === 'login' || kind === 'slow')
            assert.equal(eager, patient);
        }
      }),
    );
  });

  it('grows to its ceiling and no further, and is drawn from the whole range', () => {
    for (const kind of ['refused', 'dropped', 'unidentified', 'slow', 'punished'] as const) {
      const { floor, ceiling } = WAITS[kind];
      const longest = new Backoff(() => 1);
      const shortest = new Backoff(() => 0);
      let expected = floor;
      for (let failure = 0; failure < 2_000; failure++) {
        expected = Math.min(ceiling, expected * 2);
        assert.equal(longest.failed(kind, ceiling).patient, expected);
        assert.equal(shortest.failed(kind, ceiling).patient, floor);
      }
    }
    assert.deepEqual(WAITS.refused, { floor: 1_000, ceiling: 30_000 });
    assert.deepEqual(WAITS.punished, { floor: 15_000, ceiling: 600_000 });
  });

  it('does not grow with attempts that reach nobody, unless they go on for long', () => {
    const backoff = new Backoff(() => 1);
    for (let i = 0; i < 100; i++)
      assert.equal(backoff.failed('silent', SILENT_EAGER_MS - 1).patient, WAITS.silent.ceiling);
    assert.equal(backoff.failed('refused', 0).patient, 2 * WAITS.refused.floor);
    const { patient, eager } = backoff.failed('silent', SILENT_EAGER_MS);
    assert.equal(patient, 30_000);
    assert.equal(eager, EAGER_WAITS.silent.ceiling);
  });

  it('waits for little longer than the outage so far, where the kernel has refused', () => {
    const backoff = new Backoff(() => 1);
    for (let i = 0; i < 8; i++) backoff.failed('refused', 0);
    assert.equal(backoff.failed('refused', 1_000).patient, 3_000);
    assert.equal(backoff.failed('refused', 7_000).patient, 9_000);
    assert.equal(backoff.failed('unidentified', 7_000).patient, WAITS.unidentified.ceiling);
  });

  it('while somebody waits: a refusal by the kernel is tried again soon, ten times, then less often', () => {
    const backoff = new Backoff(() => 1);
    const waits = Array.from({ length: 12 }, () => backoff.failed('refused', 9_000).eager);
    assert.deepEqual(waits.slice(0, EAGER_TRIES), new Array(EAGER_TRIES).fill(500));
    assert.deepEqual(waits.slice(EAGER_TRIES), [3_000, 3_000]);
  });

  it('while somebody waits: a close without a word is tried again soon, unless the server punishes', () => {
    for (const kind of ['punished', 'login'] as const) {
      const backoff = new Backoff(() => 1);
      for (let i = 0; i < 30; i++) assert.equal(backoff.failed('unidentified', 0).eager, 2_000);
      backoff.failed(kind, 0);
      backoff.reset();
      assert.ok(backoff.failed('unidentified', 0).eager >= WAITS.punished.floor);
    }
  });

  it('never lets more than two refused logins into ten minutes', () => {
    fc.assert(
      fc.property(fraction, fraction, (one, other) => {
        const values = [one, one, other, other];
        const backoff = new Backoff(() => values.shift() ?? 0);
        const waits = [backoff.failed('login', 0), backoff.failed('login', 0)];
        assert.ok(waits.reduce((sum, { eager }) => sum + eager, 0) > 10 * 60_000);
      }),
    );
  });

  it('starts again after a link that settled, and counts one that did not as a failure', () => {
    const backoff = new Backoff(() => 1);
    assert.equal(backoff.lost(LASTING_MS - 1).patient, 2_000);
    assert.equal(backoff.lost(LASTING_MS - 1).patient, 4_000);
    assert.equal(backoff.failed('refused', 10_000).patient, 8_000);
    assert.deepEqual(backoff.lost(SETTLED_MS), { patient: 0, eager: 0 });
    assert.equal(backoff.failed('refused', 0).patient, 2_000);
    backoff.reset();
    assert.equal(backoff.failed('refused', 0).patient, 2_000);
  });

  it('dials at once for who waits, but not for ever, where each link ends after some seconds', () => {
    const backoff = new Backoff(() => 1);
    assert.deepEqual(backoff.lost(LASTING_MS), { patient: 0, eager: 0 });
    const waits = Array.from({ length: 5 }, () => backoff.lost(SETTLED_MS - 1));
    assert.deepEqual(
      waits.map(({ patient }) => patient),
      [2_000, 4_000, 8_000, 16_000, 30_000],
    );
    assert.ok(waits.every(({ eager }) => eager === 0));
  });

  it('spaces the logins at a server that throws them out, after the first', () => {
    const backoff = new Backoff(() => 0);
    assert.equal(backoff.lost(1_000).eager, 500);
    for (let i = 0; i < 5; i++) {
      const { eager, patient } = backoff.lost(1_000);
      assert.equal(1_000 + eager, LOGIN_SPACING_MS);
      assert.ok(patient >= eager);
    }
  });

  it('knows what each error means to the server', () => {
    const table: Partial<Record<ErrorCode, FailureKind | undefined>> = {
      'jumphost-timeout': 'silent',
      'jumphost-unreachable': 'silent',
      'jumphost-dns': 'silent',
      'jumphost-refused': 'refused',
      'jumphost-no-identification': 'unidentified',
      'jumphost-slow': 'slow',
      'jumphost-closed': 'punished',
      'jumphost-not-ssh': 'punished',
      'jumphost-no-common-algorithm': 'punished',
      'openssh-failed': 'punished',
      'openssh-not-found': undefined,
      'auth-failed': 'login',
      'auth-timeout': 'login',
      'auth-passphrase': undefined,
      'no-terminal': 'unanswered',
      'auth-cancelled': 'unanswered',
      'host-key-changed': undefined,
      'host-key-unknown': undefined,
      'host-key-revoked': undefined,
      'capture-failed': undefined,
    };
    for (const code of ERRORS.flatMap(({ codes }) => codes)) {
      if (code in table) assert.equal(failureKind(code), table[code], code);
    }
  });
});

describe('dialPatience', () => {
  it('is what the user allows for the first dial and for every fourth', () => {
    assert.equal(dialPatience(15, 1, undefined), 15);
    assert.equal(dialPatience(15, 4, 100), 15);
    assert.equal(dialPatience(15, 8, 100), 15);
  });

  it('is otherwise short, but not for a path that is slow, and never longer than allowed', () => {
    assert.equal(dialPatience(15, 1, 100), 4);
    assert.equal(dialPatience(15, 2, 2_000), 8);
    assert.equal(dialPatience(15, 3, 60_000), 15);
    assert.equal(dialPatience(2, 1, 100), 2);
  });
});
