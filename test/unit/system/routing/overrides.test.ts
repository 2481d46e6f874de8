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
    const sources = ['10.1.0.0/16', '10.2.0.2/31', '10.3.0.3/32', '2001:db8::1/128'].map(prefix);
    assert.deepEqual(overrides.add(sources, NOTHING), sources);
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
    overrides.add(['10.1.0.0/16', '10.2.0.2/31'].map(prefix), { occupied, gateways: [] });
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
    overrides.add([prefix('10.1.0.0/29')], { occupied: [], gateways: [prefix('10.1.0.1/32')] });
    assert.deepEqual(routes(overrides), ['10.1.0.0', '10.1.0.2/31', '10.1.0.4/30']);
  });

  it('goes three levels down, not further, and overrides no route twice', () => {
    const overrides = new Overrides();
    const add = (text: string) => overrides.add([prefix(text)], NOTHING).length === 1;
    const answers = ['/16', '/17', '/18', '/19'].map((length) => add(`10.1.0.0${length}`));
    assert.deepEqual(answers, [true, true, true, false]);
    assert.equal(add('10.1.0.0/16'), false);
    assert.ok(add('10.9.0.0/19'), 'another one');
  });

  it('takes routes within each other for no answer, if they were there at once', () => {
    const overrides = new Overrides();
    const nested = ['/16', '/17', '/18', '/19', '/20', '/21'].map((end) =>
      prefix(`10.1.0.0${end}`),
    );
    assert.deepEqual(overrides.add(nested, { occupied: nested, gateways: [] }), nested);
    const made = routes(overrides);
    assert.ok(nested.every((one) => !made.includes(formatPrefix(one))));
  });

  it('has only what is captured, again when it is captured again', () => {
    const overrides = new Overrides();
    overrides.add([prefix('10.1.0.0/16')], NOTHING);
    assert.deepEqual(routes(overrides, [prefix('10.1.0.0/17')]), []);
    assert.equal(routes(overrides).length, 2);
    overrides.remove([prefix('10.1.0.0/16')]);
    assert.deepEqual(routes(overrides), []);
  });

  it('has a limit', () => {
    const overrides = new Overrides();
    const many = Array.from({ length: MAX_OVERRIDES + 1 }, (_, i) =>
      prefix(`10.${i >> 8}.${i & 255}.0/24`),
    );
    assert.deepEqual(overrides.add(many, NOTHING), many.slice(0, MAX_OVERRIDES));
  });
});
