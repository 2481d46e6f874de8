import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseExclusion, parseTarget } from '../../../src/config/target.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { addressFromNumber, addressNumber } from '../../../src/net/address.ts';
import { parseNamePattern } from '../../../src/net/name.ts';
import { parsePorts } from '../../../src/net/ports.ts';
import {
  formatPrefix,
  hostPrefix,
  parsePrefix,
  prefixAround,
  prefixContains,
} from '../../../src/net/prefix.ts';
import { PrefixSet } from '../../../src/net/prefixset.ts';
import { SPECIAL_RANGES } from '../../../src/net/special.ts';
import {
  capturedPrefixes,
  createPolicy,
  MAX_CAPTURED_PREFIXES,
  type NameRule,
  type PolicyOptions,
  type Rule,
} from '../../../src/policy/policy.ts';

const targets = (...texts: string[]) =>
  texts.map((text) => parseTarget(text, { kind: 'argument', name: 'target' }).target);
const exclusions = (...texts: string[]) =>
  texts.map((text) => parseExclusion(text, { kind: 'option', name: '-x' }).target);
const prefixesOf = (...texts: string[]) => texts.map((text) => parsePrefix(text).prefix);

describe('decide', () => {
  const policy = createPolicy({
    targets: targets(
      '10.0.0.0/8',
      '192.168.0.0/16:443,8000-8100',
      '192.168.7.0/24:22',
      '192.168.9.9',
      '2001:db8::/32',
      '[2001:db9::]/32:443',
      '169.254.169.254:80',
    ),
    exclusions: exclusions(
      '10.1.0.0/16',
      '10.2.0.0/16:25',
      '192.168.8.0/24:443',
      '2001:db8:1::/48',
    ),
  });
  const refused = (why: RegExp) => ({ kind: 'refuse', refusal: 'prohibited', why });
  const direct = (why: RegExp) => ({ kind: 'direct', why });
  const table: readonly (readonly [
    string,
    number,
    { kind: string; why?: RegExp; refusal?: string },
  ])[] = [
    ['10.0.0.1', 22, { kind: 'tunnel' }],
    ['10.255.255.255', 65535, { kind: 'tunnel' }],
    ['11.0.0.0', 22, direct(/no target/)],
    ['10.1.2.3', 22, direct(/^10\.1\.0\.0\/16 is excluded$/)],
    ['10.2.0.1', 25, direct(/^10\.2\.0\.0\/16 is excluded for port 25$/)],
    ['10.2.0.1', 26, { kind: 'tunnel' }],
    ['192.168.1.1', 443, { kind: 'tunnel' }],
    ['192.168.1.1', 8100, { kind: 'tunnel' }],
    [
      '192.168.1.1',
      8101,
      refused(
        /^port 8101 is not among the ports of the target 192\.168\.0\.0\/16 \(443,8000-8100\)$/,
      ),
    ],
    ['192.168.1.1', 22, refused(/port 22/)],
    // Nested targets add up, wider or narrower.
    ['192.168.7.1', 22, { kind: 'tunnel' }],
    ['192.168.7.1', 443, { kind: 'tunnel' }],
    ['192.168.7.1', 80, refused(/192\.168\.7\.0\/24 \(22,443,8000-8100\)/)],
    ['192.168.9.9', 1, { kind: 'tunnel' }],
    ['192.168.8.1', 443, direct(/excluded for port 443/)],
    ['192.168.8.1', 8000, { kind: 'tunnel' }],
    ['192.168.8.1', 22, refused(/port 22/)],
    ['2001:db8::1', 80, { kind: 'tunnel' }],
    ['2001:db8:1::1', 80, direct(/2001:db8:1::\/48 is excluded/)],
    ['2001:db9::1', 443, { kind: 'tunnel' }],
    ['2001:db9::1', 80, refused(/2001:db9::\/32 \(443\)/)],
    ['169.254.169.254', 80, { kind: 'tunnel' }],
    ['169.254.169.254', 81, refused(/169\.254\.169\.254 \(80\)/)],
    ['169.254.169.253', 80, direct(/link-local/)],
    ['127.0.0.1', 80, direct(/it is a loopback address/)],
    ['api.example.com', 443, { kind: 'resolve' }],
    ['localhost', 443, direct(/loopback/)],
  ];
  for (const [host, port, expected] of table) {
    it(`${host} port ${port}: ${expected.kind}`, () => {
      const { why, ...verdict }: { kind: string; why?: string } = policy.decide({ host, port });
      const { why: pattern, ...rest } = expected;
      assert.deepEqual(verdict, rest);
      if (pattern === undefined) assert.equal(why, undefined);
      else assert.match(why ?? '', pattern);
    });
  }

  it('leaves special ranges out of wider targets', () => {
    const wide = createPolicy({ targets: targets('0/0', '::/0:443'), exclusions: [] });
    assert.equal(wide.decide({ host: '8.8.8.8', port: 53 }).kind, 'tunnel');
    assert.equal(wide.decide({ host: '2600::1', port: 80 }).kind, 'refuse');
    for (const host of [
      '127.0.0.1',
      '169.254.169.254',
      '198.18.0.1',
      '224.0.0.1',
      '::1',
      'fe80::1',
      'ff02::1',
    ]) {
      assert.equal(wide.decide({ host, port: 443 }).kind, 'direct', host);
    }
  });

  it('stays fast with many rules', () => {
    const many: Rule[] = Array.from({ length: 50_000 }, (_, index) => ({
      prefix: hostPrefix(addressFromNumber(0x0a00_0000n + BigInt(index * 2), 4)),
      ports: [],
    }));
    const { decide } = createPolicy({ targets: targets('10.0.0.0/8'), exclusions: many });
    const start = process.hrtime.bigint();
    for (let index = 0; index < 10_000; index += 1) {
      const host = addressFromNumber(0x0a00_0000n + BigInt(index * 7), 4);
      const expected = index * 7 < 100_000 && (index * 7) % 2 === 0 ? 'direct' : 'tunnel';
      assert.equal(decide({ host, port: 443 }).kind, expected);
    }
    // A scan of 50,000 rules for each would take minutes; this takes a tenth of a second.
    assert.ok(process.hrtime.bigint() - start < 5_000_000_000n);
  });
});

/** Rules around two places: an ordinary one and the border of a special range. */
const ruleNear = (base: bigint) =>
  fc
    .record({
      offset: fc.bigInt({ min: 0n, max: 31n }),
      length: fc.integer({ min: 26, max: 32 }),
      ports: fc.constantFrom([], [{ first: 2, last: 3 }], [{ first: 3, last: 3 }]),
    })
    .map(
      ({ offset, length, ports }): Rule => ({
        prefix: prefixAround(base + offset, 4, length),
        ports,
      }),
    );
const BASES = [
  addressNumber('10.0.0.0'),
  addressNumber('126.255.255.240'),
  addressNumber('169.254.255.240'),
];
const scenario = fc.constantFrom(...BASES).chain((base) =>
  fc.record({
    base: fc.constant(base),
    targets: fc.array(ruleNear(base), { minLength: 1, maxLength: 6 }),
    exclusions: fc.array(ruleNear(base), { maxLength: 4 }),
  }),
);

/** The rules of policy.ts as one reads them, by scanning. */
function naive(
  rules: { targets: readonly Rule[]; exclusions: readonly Rule[] },
  host: string,
  port: number,
): string {
  const prefix = hostPrefix(host);
  const holds = (rule: Rule) => prefixContains(rule.prefix, prefix);
  const allows = ({ ports }: Rule) =>
    ports.length === 0 || ports.some(({ first, last }) => first <= port && port <= last);
  if (rules.exclusions.some((rule) => holds(rule) && allows(rule))) return 'direct';
  const special = SPECIAL_RANGES.find((range) => prefixContains(range.prefix, prefix));
  const holding = rules.targets.filter(
    (rule) =>
      holds(rule) &&
      (special === undefined || (special.onRequest && prefixContains(special.prefix, rule.prefix))),
  );
  if (holding.some(allows)) return 'tunnel';
  return holding.length > 0 ? 'refuse' : 'direct';
}

function captured(rules: {
  targets: readonly Rule[];
  exclusions: readonly Rule[];
  always?: Rule[];
}): PrefixSet {
  try {
    const always = (rules.always ?? []).map(({ prefix }) => prefix);
    return new PrefixSet(capturedPrefixes({ ...rules, always }));
  } catch (error) {
    assert.ok(error instanceof UsageError && /nothing would be captured/.test(error.message));
    return new PrefixSet([]);
  }
}

describe('policy properties', () => {
  it('decides as a scan of the rules does', () => {
    fc.assert(
      fc.property(scenario, ({ base, ...rules }) => {
        const policy = createPolicy(rules);
        for (let offset = 0n; offset < 32n; offset += 1n) {
          const host = addressFromNumber(base + offset, 4);
          for (const port of [1, 2, 3]) {
            assert.equal(
              policy.decide({ host, port }).kind,
              naive(rules, host, port),
              `${host}:${port}`,
            );
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it('captures what may have to be tunnelled or refused, and nothing that is direct on all ports', () => {
    fc.assert(
      fc.property(scenario, ({ base, ...rules }) => {
        const set = captured(rules);
        const unlimited = {
          ...rules,
          exclusions: rules.exclusions.filter(({ ports }) => ports.length === 0),
        };
        for (let offset = 0n; offset < 32n; offset += 1n) {
          const host = addressFromNumber(base + offset, 4);
          const handled = [1, 2, 3].some((port) => naive(unlimited, host, port) !== 'direct');
          assert.equal(set.contains(host), handled, host);
        }
      }),
      { numRuns: 200 },
    );
  });

  it("never captures the jump host's addresses", () => {
    fc.assert(
      fc.property(scenario, fc.bigInt({ min: 0n, max: 31n }), ({ base, ...rules }, offset) => {
        const host = addressFromNumber(base + offset, 4);
        const set = captured({ ...rules, always: [{ prefix: hostPrefix(host), ports: [] }] });
        assert.equal(set.contains(host), false);
        const without = captured(rules);
        const other = addressFromNumber(base + ((offset + 1n) % 32n), 4);
        assert.equal(set.contains(other), without.contains(other));
      }),
    );
  });
});

describe('decide, for the clients of a proxy', () => {
  const names = (...texts: string[]): NameRule[] =>
    texts.map((text) => {
      const [name = '', ports] = text.split(':');
      return {
        pattern: parseNamePattern(name),
        ports: ports === undefined ? [] : parsePorts(ports),
      };
    });
  const verdict = (
    rules: Parameters<typeof createPolicy>[0],
    host: string,
    port = 443,
    options: PolicyOptions = {},
  ) => createPolicy(rules, { proxied: true, ...options }).decide({ host, port }).kind;

  it('goes by name first, then leaves it to the addresses', () => {
    const rules = {
      targets: targets('10.0.0.0/8'),
      exclusions: exclusions('10.1.0.0/16'),
      nameTargets: names('api.example.com:443', '*.cloud.example', 'localhost:8080'),
      nameExclusions: names('public.cloud.example', '*.cdn.cloud.example:80'),
    };
    const table: readonly (readonly [string, number, string])[] = [
      ['api.example.com', 443, 'tunnel'],
      ['api.example.com', 80, 'refuse'],
      ['x.y.cloud.example', 1, 'tunnel'],
      ['cloud.example', 443, 'resolve'],
      ['public.cloud.example', 443, 'direct'],
      ['a.cdn.cloud.example', 80, 'direct'],
      ['a.cdn.cloud.example', 443, 'tunnel'],
      ['other.example', 443, 'resolve'],
      ['localhost', 8080, 'tunnel'],
      ['localhost', 8081, 'refuse'],
      ['x.localhost', 443, 'direct'],
      ['10.1.2.3', 443, 'direct'],
      ['10.2.2.3', 443, 'tunnel'],
      ['11.0.0.1', 443, 'direct'],
    ];
    for (const [host, port, expected] of table)
      assert.equal(verdict(rules, host, port), expected, `${host}:${port}`);
    // Without targets that are addresses there is nothing to resolve a name for.
    assert.equal(verdict({ ...rules, targets: [] }, 'other.example'), 'direct');
  });

  it('carries everything where nothing is a target, localhost included, as ssh -D does', () => {
    const rules = {
      targets: [],
      exclusions: exclusions('10.1.0.0/16'),
      nameExclusions: names('*.lan'),
    };
    for (const host of [
      '8.8.8.8',
      '127.0.0.1',
      '::1',
      'localhost',
      'any.example',
      '169.254.169.254',
    ])
      assert.equal(verdict(rules, host, 443, { beyond: 'tunnel' }), 'tunnel', host);
    for (const host of ['10.1.0.1', 'printer.lan'])
      assert.equal(verdict(rules, host, 443, { beyond: 'tunnel' }), 'direct', host);
  });

  it('refuses what is no target, or excluded, when only targets may be reached', () => {
    const rules = {
      targets: targets('10.0.0.0/8'),
      exclusions: exclusions('10.1.0.0/16'),
      nameTargets: names('*.example'),
      nameExclusions: names('not.example'),
    };
    for (const host of ['8.8.8.8', '10.1.0.1', '127.0.0.1', 'localhost', 'not.example'])
      assert.equal(verdict(rules, host, 443, { beyond: 'refuse' }), 'refuse', host);
    assert.equal(verdict(rules, 'other.test', 443, { beyond: 'refuse' }), 'resolve');
    assert.equal(
      verdict({ ...rules, targets: [] }, 'other.test', 443, { beyond: 'refuse' }),
      'refuse',
    );
    for (const host of ['10.2.0.1', 'a.example'])
      assert.equal(verdict(rules, host, 443, { beyond: 'refuse' }), 'tunnel', host);
  });

  it('reaches into special ranges only where a target lies inside', () => {
    const rules = { targets: exclusions('127.0.0.1:8080', '0.0.0.0/0'), exclusions: [] };
    assert.equal(verdict(rules, '127.0.0.1', 8080), 'tunnel');
    assert.equal(verdict(rules, '127.0.0.1', 8081), 'refuse');
    assert.equal(verdict(rules, '127.0.0.2', 8080), 'direct');
    assert.equal(createPolicy(rules).decide({ host: '127.0.0.1', port: 8080 }).kind, 'direct');
  });

  it('dials nothing of this machine for clients elsewhere, by address or by name', () => {
    const rules = { targets: [], exclusions: [], nameTargets: names('api.example') };
    for (const host of ['127.0.0.1', '::1', 'localhost', '169.254.169.254', 'fe80::1'])
      assert.equal(verdict(rules, host, 80, { remoteClients: true }), 'refuse', host);
    assert.equal(
      verdict(rules, 'may-be-localhost.example', 80, { remoteClients: true }),
      'resolve',
    );
    assert.equal(verdict(rules, '8.8.8.8', 80, { remoteClients: true }), 'direct');
    const isOwnAddress = (address: string) => address === '192.168.1.5';
    const remote = { remoteClients: true, isOwnAddress };
    const excluding = {
      targets: targets('10/8'),
      exclusions: exclusions('0/0'),
      nameExclusions: names('localhost'),
    };
    for (const of of [rules, excluding]) {
      for (const host of ['192.168.1.5', '127.0.0.1', 'localhost'])
        assert.equal(verdict(of, host, 80, { ...remote }), 'refuse', host);
      assert.equal(verdict(of, '192.168.1.6', 80, { ...remote }), 'direct');
      assert.equal(verdict(of, '192.168.1.5', 80, { isOwnAddress }), 'direct');
    }
    // What the jump host has by that address is another thing.
    const inside = { targets: targets('192.168.1.0/24'), exclusions: [] };
    assert.equal(verdict(inside, '192.168.1.5', 80, { ...remote, proxied: true }), 'tunnel');
  });
});

describe('capturedPrefixes', () => {
  const texts = (rules: { targets: string[]; exclusions?: string[]; always?: string[] }) =>
    capturedPrefixes({
      targets: targets(...rules.targets),
      exclusions: exclusions(...(rules.exclusions ?? [])),
      always: prefixesOf(...(rules.always ?? [])),
    }).map(formatPrefix);

  it('is the targets, merged and sorted', () => {
    assert.deepEqual(
      texts({ targets: ['2001:db8::/32', '10.1.0.0/16', '10.0.0.0/16', '10.0.3.0/24'] }),
      ['10.0.0.0/15', '2001:db8::/32'],
    );
  });

  it('takes out exclusions without ports, and the jump host', () => {
    assert.deepEqual(texts({ targets: ['10.0.0.0/30'], exclusions: ['10.0.0.1', '10.0.0.2:22'] }), [
      '10.0.0.0',
      '10.0.0.2/31',
    ]);
    assert.deepEqual(texts({ targets: ['10.0.0.0/30'], always: ['10.0.0.3'] }), [
      '10.0.0.0/31',
      '10.0.0.2',
    ]);
  });

  it('never gives out a default route', () => {
    const all = texts({ targets: ['0/0', '::/0'] });
    assert.ok(
      all.every((text) => !text.endsWith('/0')),
      all.join(' '),
    );
    const set = new PrefixSet(prefixesOf(...all));
    for (const inside of [
      '1.1.1.1',
      '126.0.0.1',
      '128.0.0.1',
      '255.255.255.254',
      '2600::1',
      '64:ff9b::1',
      'fd00::1',
    ]) {
      assert.equal(set.contains(inside), true, inside);
    }
    for (const outside of [
      '0.0.0.0',
      '127.0.0.1',
      '169.254.169.254',
      '198.19.255.255',
      '239.1.1.1',
      '255.255.255.255',
    ]) {
      assert.equal(set.contains(outside), false, outside);
    }
    for (const outside of ['::', '::1', '2001:2::1', 'fe80::1', 'febf::1', 'ff02::1']) {
      assert.equal(set.contains(outside), false, outside);
    }
  });

  it('captures link-local addresses that are asked for, but not because of a wider target', () => {
    assert.deepEqual(texts({ targets: ['169.254.169.254'] }), ['169.254.169.254']);
    const set = new PrefixSet(prefixesOf(...texts({ targets: ['0/0', '169.254.169.254'] })));
    assert.equal(set.contains('169.254.169.254'), true);
    assert.equal(set.contains('169.254.169.253'), false);
  });

  const empty: readonly (readonly [Parameters<typeof texts>[0], RegExp])[] = [
    [{ targets: ['10.0.0.0/8'], exclusions: ['0/0'] }, /the exclusions cover all the targets/],
    [
      { targets: ['10.0.0.7'], always: ['10.0.0.7'] },
      /only the jump host's own addresses are left \(10\.0\.0\.7\)/,
    ],
    [
      { targets: ['10.0.0.6/31'], exclusions: ['10.0.0.6'], always: ['10.0.0.7'] },
      /only the jump host's own/,
    ],
  ];
  for (const [rules, message] of empty) {
    it(`explains why nothing is left of ${rules.targets}`, () => {
      assert.throws(
        () => texts(rules),
        (error) =>
          error instanceof UsageError && message.test(error.message) && error.hint !== undefined,
      );
    });
  }

  it('explains that only special addresses were asked for', () => {
    const special: Rule[] = [{ prefix: parsePrefix('127.0.0.1').prefix, ports: [] }];
    assert.throws(
      () => capturedPrefixes({ targets: special, exclusions: [], always: [] }),
      /never captured/,
    );
  });

  it('has a limit', () => {
    const every = (step: number, count: number): Rule[] =>
      Array.from({ length: count }, (_, index) => ({
        prefix: hostPrefix(addressFromNumber(0x0a00_0000n + BigInt(index * step), 4)),
        ports: [],
      }));
    const most = capturedPrefixes({
      targets: every(2, MAX_CAPTURED_PREFIXES),
      exclusions: [],
      always: [],
    });
    assert.equal(most.length, MAX_CAPTURED_PREFIXES);
    assert.throws(
      () =>
        capturedPrefixes({
          targets: every(2, MAX_CAPTURED_PREFIXES + 1),
          exclusions: [],
          always: [],
        }),
      /make 8193 routes, at most 8192 are installed/,
    );
    assert.equal(
      capturedPrefixes({ targets: every(1, 16384), exclusions: [], always: [] }).length,
      1,
    );
  });
});
