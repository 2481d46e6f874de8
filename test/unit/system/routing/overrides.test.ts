/** Which routes win over somebody else's, and how often. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatPrefix, parsePrefix } from '../../../../src/net/prefix.ts';
import { MAX_OVERRIDES, Overrides } from '../../../../src/system/routing/overrides.ts';

const prefix = (text: string) => parsePrefix(text).prefix;
const NOTHING = { occupied: [], gateways: [] };
const CAPTURED = [prefix('10.0.0.0/8'), prefix('2001:db8::/32')];

function routes(overrides: Overrides, captured = CAPTURED): string[] {
  return overrides
    .within(captured)
    .map((route) => formatPrefix(route) + (route.preferred === true ? ' preferred' : ''));
}

describe('Overrides', () => {
  it('takes the halves of a prefix, and a better route to a single address', () => {
    const overrides = new Overrides();
    for (const text of ['10.1.0.0/16', '10.2.0.2/31', '10.3.0.3/32', '2001:db8::1/128'])
      assert.ok(overrides.add(prefix(text), NOTHING));
    assert.deepEqual(routes(overrides), [
      '10.1.0.0/17',
      '10.1.128.0/17',
      '10.2.0.2',
      '10.2.0.3',
      '10.3.0.3 preferred',
      '2001:db8::1 preferred',
    ]);
  });

  it('takes no prefix that somebody else has a route to', () => {
    const overrides = new Overrides();
    const occupied = ['10.1.0.0/16', '10.1.0.0/17', '10.1.64.0/18', '10.2.0.3/32'].map(prefix);
    overrides.add(prefix('10.1.0.0/16'), { occupied, gateways: [] });
    overrides.add(prefix('10.2.0.2/31'), { occupied, gateways: [] });
    assert.deepEqual(routes(overrides), [
      '10.1.0.0/18',
      '10.1.64.0/19',
      '10.1.96.0/19',
      '10.1.128.0/17',
      '10.2.0.2',
      '10.2.0.3 preferred',
    ]);
  });

  it('leaves gateways where they are', () => {
    const overrides = new Overrides();
    overrides.add(prefix('10.1.0.0/29'), { occupied: [], gateways: [prefix('10.1.0.1/32')] });
    assert.deepEqual(routes(overrides), ['10.1.0.0', '10.1.0.2/31', '10.1.0.4/30']);
  });

  it('goes three levels down, not further, and overrides no route twice', () => {
    const overrides = new Overrides();
    const answers = ['/16', '/17', '/18', '/19'].map((length) =>
      overrides.add(prefix(`10.1.0.0${length}`), NOTHING),
    );
    assert.deepEqual(answers, [true, true, true, false]);
    assert.equal(overrides.add(prefix('10.1.0.0/16'), NOTHING), false);
    assert.ok(overrides.add(prefix('10.9.0.0/19'), NOTHING), 'another one');
  });

  it('has only what is captured, again when it is captured again', () => {
    const overrides = new Overrides();
    overrides.add(prefix('10.1.0.0/16'), NOTHING);
    assert.deepEqual(routes(overrides, [prefix('10.1.0.0/17')]), []);
    assert.equal(routes(overrides).length, 2);
    overrides.remove(prefix('10.1.0.0/16'));
    assert.deepEqual(routes(overrides), []);
  });

  it('has a limit', () => {
    const overrides = new Overrides();
    const added = Array.from({ length: MAX_OVERRIDES + 1 }, (_, i) =>
      overrides.add(prefix(`10.${i >> 8}.${i & 255}.0/24`), NOTHING),
    );
    assert.deepEqual(added.slice(-2), [true, false]);
  });
});
