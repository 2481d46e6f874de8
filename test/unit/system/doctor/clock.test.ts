import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lookAtClock } from '../../../../src/system/doctor/clock.ts';

const NOW = Date.parse('2026-01-02T03:04:05Z');
const HOUR = 3_600_000;

describe('lookAtClock', () => {
  it('says the time', () => {
    const found = lookAtClock(NOW, () => NOW - HOUR);
    assert.deepEqual(found, { name: 'clock', state: 'ok', detail: '2026-01-02T03:04:05Z' });
  });

  it('warns when the machine has been on later', () => {
    const found = lookAtClock(NOW, (path) =>
      path === '/etc/ld.so.cache' ? NOW + 2 * HOUR : undefined,
    );
    assert.equal(found.state, 'warning');
    assert.match(found.detail, /\/etc\/ld\.so\.cache was written later/);
    assert.equal(lookAtClock(NOW, () => NOW + HOUR / 2).state, 'ok');
  });
});
