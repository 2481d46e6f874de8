/** Names and addresses of one destination: which rules hold for which. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseNamePattern } from '../../../src/net/name.ts';
import { parsePrefix } from '../../../src/net/prefix.ts';
import { byKnownNames, createFormRule, createTargetName } from '../../../src/policy/knownnames.ts';
import { createPolicy } from '../../../src/policy/policy.ts';

const ports = (...numbers: readonly number[]) =>
  numbers.map((port) => ({ first: port, last: port }));
const network = (text: string, ...limited: readonly number[]) => ({
  prefix: parsePrefix(text).prefix,
  ports: ports(...limited),
});
const named = (text: string, ...limited: readonly number[]) => ({
  pattern: parseNamePattern(text),
  ports: ports(...limited),
});

const RULES = {
  targets: [network('10.0.0.0/8', 443), network('169.254.169.254')],
  exclusions: [network('10.0.0.9'), network('10.0.0.8', 22)],
  nameTargets: [named('*.corp.example', 443, 22)],
  nameExclusions: [named('public.corp.example')],
};

describe('an address that was answered for a name', () => {
  const names: Readonly<Record<string, readonly string[]>> = {
    '192.0.2.1': ['www.corp.example'],
    '192.0.2.2': ['public.corp.example', 'www.example'],
    '192.0.2.3': ['public.corp.example', 'api.corp.example'],
    '10.0.0.8': ['www.corp.example'],
    '10.0.0.9': ['www.corp.example'],
  };
  const targetName = createTargetName(RULES, (address) => names[address] ?? []);
  const policy = byKnownNames(createPolicy(RULES), targetName);
  const TABLE: readonly (readonly [string, number, string])[] = [
    ['192.0.2.1', 443, 'tunnel'],
    ['192.0.2.1', 80, 'direct'],
    ['192.0.2.2', 443, 'direct'],
    ['192.0.2.3', 443, 'tunnel'],
    ['192.0.2.4', 443, 'direct'],
    // An exclusion of the address wins over a name target.
    ['10.0.0.9', 443, 'direct'],
    ['10.0.0.8', 22, 'direct'],
    ['10.0.0.8', 443, 'tunnel'],
  ];
  for (const [host, port, kind] of TABLE)
    it(`${host}:${port}: ${kind}`, () => assert.equal(policy.decide({ host, port }).kind, kind));
});

describe('another form of a destination may be opened', () => {
  const mayOpen = createFormRule(RULES);
  const TABLE: readonly (readonly [string, number, boolean, string])[] = [
    ['10.1.0.1', 443, true, 'a target'],
    ['192.0.2.1', 443, true, 'no target, and nothing against it'],
    ['10.1.0.1', 80, false, 'a target for other ports'],
    ['10.0.0.9', 443, false, 'excluded'],
    ['10.0.0.8', 22, false, 'excluded for this port'],
    ['10.0.0.8', 443, true, 'excluded for another port'],
    ['127.0.0.1', 443, false, "the jump host's own loopback"],
    ['::1', 443, false, 'the same'],
    ['169.254.1.1', 443, false, 'link-local'],
    ['169.254.169.254', 80, true, 'special, but a target'],
    ['public.corp.example', 443, false, 'an excluded name'],
    ['www.corp.example', 80, false, 'a name target for other ports'],
    ['www.corp.example', 443, true, 'a name target'],
    ['www.example', 443, true, 'any name'],
  ];
  for (const [host, port, expected, what] of TABLE)
    it(`${host}:${port}: ${expected} (${what})`, () =>
      assert.equal(mayOpen({ host, port }), expected));
});
