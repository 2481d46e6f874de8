import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePrefix } from '../../../../src/net/prefix.ts';
import { type Caller, lookAtPermission } from '../../../../src/system/doctor/permission.ts';

const prefixes = (...texts: readonly string[]) => texts.map((text) => parsePrefix(text).prefix);

describe('lookAtPermission', () => {
  const alice: Caller = { uid: 1000, name: 'alice', groups: ['alice', 'users'], hasRules: false };
  const everything = prefixes('1.0.0.0/8', '2.0.0.0/7');

  it('says what the helper would say of prefixes that are too wide', () => {
    for (const [wide, line] of [
      [
        everything,
        /2\.0\.0\.0\/7 of the targets: a prefix shorter than \/8.*permit alice default 0/,
      ],
      [
        prefixes('2000::/15'),
        /2000::\/15 of the targets: a prefix shorter than \/16.*default ::\/0/,
      ],
    ] as const) {
      const finding = lookAtPermission(wide, alice);
      assert.equal(finding?.state, 'failed');
      assert.equal(finding?.code, 'capture-not-permitted');
      assert.match(`${finding?.detail} ${finding?.hint}`, line);
    }
  });

  for (const [who, changes, wanted] of [
    ['anybody, of narrower ones', {}, prefixes('10.0.0.0/8', '2001::/16')],
    ['root', { uid: 0 }, everything],
    ['administrators', { groups: ['alice', 'sudo'] }, everything],
    ['users whose groups are not known', { groups: undefined }, everything],
    ['anybody where there are rules', { hasRules: true }, everything],
  ] as const)
    it(`says nothing to ${who}`, () =>
      assert.equal(lookAtPermission(wanted, { ...alice, ...changes }), undefined));

  it('looks at this user', () => {
    const finding = lookAtPermission(everything);
    if (process.getuid?.() === 0) assert.equal(finding, undefined);
    else assert.ok(finding === undefined || finding.code === 'capture-not-permitted');
  });
});
