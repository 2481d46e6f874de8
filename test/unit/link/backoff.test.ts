import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ERRORS, type ErrorCode } from '../../../src/errors/codes.ts';
import {
  Backoff,
  dialPatience,
  type FailureKind,
  failureKind,
  LASTING_MS,
  SILENT_EAGER_MS,
  WAITS,
} from '../../../src/link/backoff.ts';

const kinds = fc.constantFrom<FailureKind>('silent', 'ordinary', 'punished', 'login');
const fraction = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const outage = fc.integer({ min: 0, max: 4 * SILENT_EAGER_MS });

describe('backoff', () => {
  it('stays between its floor and its ceiling, whatever has happened', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(kinds, fraction, outage), { minLength: 1 }), (failures) => {
        let random = 0;
        const backoff = new Backoff(() => random);
        for (const [kind, value, downFor] of failures) {
          random = value;
          const wait = backoff.next(kind, downFor);
          const range =
            kind === 'silent' && downFor >= SILENT_EAGER_MS ? WAITS.ordinary : WAITS[kind];
          assert.ok(wait >= range.floor && wait <= range.ceiling, `${kind}: ${wait}`);
        }
      }),
    );
  });

  it('grows to its ceiling and no further, and is drawn from the whole range', () => {
    for (const kind of ['ordinary', 'punished'] as const) {
      const { floor, ceiling } = WAITS[kind];
      const longest = new Backoff(() => 1);
      const shortest = new Backoff(() => 0);
      let expected = floor;
      for (let failure = 0; failure < 2_000; failure++) {
        expected = Math.min(ceiling, expected * 2);
        assert.equal(longest.next(kind, 0), expected);
        assert.equal(shortest.next(kind, 0), floor);
      }
    }
    assert.deepEqual(WAITS.ordinary, { floor: 1_000, ceiling: 30_000 });
    assert.deepEqual(WAITS.punished, { floor: 15_000, ceiling: 600_000 });
  });

  it('does not grow with attempts that reach nobody, unless they go on for long', () => {
    const backoff = new Backoff(() => 1);
    for (let i = 0; i < 100; i++)
      assert.equal(backoff.next('silent', SILENT_EAGER_MS - 1), WAITS.silent.ceiling);
    assert.equal(backoff.next('ordinary', 0), 2 * WAITS.ordinary.floor);
    assert.equal(backoff.next('silent', SILENT_EAGER_MS), WAITS.ordinary.ceiling);
  });

  it('never lets more than two refused logins into ten minutes', () => {
    fc.assert(
      fc.property(fraction, fraction, (one, other) => {
        const values = [one, other];
        const backoff = new Backoff(() => values.shift() ?? 0);
        assert.ok(backoff.next('login', 0) + backoff.next('login', 0) > 10 * 60_000);
      }),
    );
  });

  it('starts again after a link that lasted, and counts one that did not as a failure', () => {
    const backoff = new Backoff(() => 1);
    assert.equal(backoff.lost(LASTING_MS - 1), 2_000);
    assert.equal(backoff.lost(LASTING_MS - 1), 4_000);
    assert.equal(backoff.next('ordinary', 0), 8_000);
    assert.equal(backoff.lost(LASTING_MS), 0);
    assert.equal(backoff.next('ordinary', 0), 2_000);
    backoff.reset();
    assert.equal(backoff.next('ordinary', 0), 2_000);
  });

  it('knows what each error means to the server', () => {
    const table: Partial<Record<ErrorCode, FailureKind | undefined>> = {
      'jumphost-timeout': 'silent',
      'jumphost-unreachable': 'silent',
      'jumphost-dns': 'silent',
      'jumphost-refused': 'ordinary',
      'jumphost-slow': 'ordinary',
      'jumphost-closed': 'punished',
      'jumphost-not-ssh': 'punished',
      'jumphost-no-common-algorithm': 'punished',
      'openssh-failed': 'punished',
      'openssh-not-found': undefined,
      'auth-failed': 'login',
      'auth-timeout': 'login',
      'auth-passphrase': undefined,
      'no-terminal': undefined,
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
