import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatPrefix, parsePrefix } from '../../../../src/net/prefix.ts';
import { keptLocal } from '../../../../src/system/routing/local.ts';

const prefixes = (...texts: readonly string[]) => texts.map((text) => parsePrefix(text).prefix);

function kept(captured: string[], requested: string[], captureLocal = false): string[] {
  const networks = prefixes('10.88.0.0/24', '2001:db8:88::/64');
  const rules = { networks, requested: prefixes(...requested), captureLocal };
  return keptLocal(prefixes(...captured), rules).map(formatPrefix);
}

describe('keptLocal', () => {
  it('is nothing where the network is narrower, or elsewhere', () => {
    assert.deepEqual(kept(['10.0.0.0/8', '10.88.1.0/24'], ['10.0.0.0/8']), []);
  });

  it('is what is exactly the network', () => {
    for (const local of [false, true])
      assert.deepEqual(kept(['10.88.0.0/24', '::/0'], ['10.88.0.0/24', '::/0'], local), [
        '10.88.0.0/24',
      ]);
  });

  it('is what is left of a wider target, unless local networks are captured', () => {
    const rest = ['10.88.0.0/25', '10.88.0.128/26', '2001:db8:88::/65', '10.88.1.0/24'];
    const targets = ['10.0.0.0/8', '2001:db8::/32'];
    assert.deepEqual(kept(rest, targets), rest.slice(0, 3));
    assert.deepEqual(kept(rest, targets, true), []);
  });

  it('is not what was asked for inside the network', () => {
    const rest = ['10.88.0.0/30', '10.88.0.4/32', '10.88.0.8/29'];
    assert.deepEqual(kept(rest, ['10.0.0.0/8', '10.88.0.0/29']), ['10.88.0.8/29']);
  });
});
