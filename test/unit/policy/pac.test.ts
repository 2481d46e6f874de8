/** The script for browsers, run as they run it, against the policy that it is made from. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createContext, Script } from 'node:vm';
import fc from 'fast-check';
import { parseExclusion, parseTarget } from '../../../src/config/target.ts';
import { addressBytes, addressFromNumber, isAddress } from '../../../src/net/address.ts';
import { canonicalHost, parseNamePattern } from '../../../src/net/name.ts';
import { parsePorts } from '../../../src/net/ports.ts';
import { parsePrefix, prefixAround, prefixBounds } from '../../../src/net/prefix.ts';
import { SPECIAL_RANGES } from '../../../src/net/special.ts';
import { type PacOptions, renderPac } from '../../../src/policy/pac.ts';
import { createPolicy, type NameRule, type Rule, type Rules } from '../../../src/policy/policy.ts';

const PROXY = '127.0.0.1:1080';
const THROUGH = `PROXY ${PROXY}`;
/** What an engine offers that would ask a resolver, or reads IPv4 only. */
const LOOKUPS = [
  'dnsResolve',
  'dnsResolveEx',
  'isResolvable',
  'isResolvableEx',
  'isInNet',
  'isInNetEx',
  'myIpAddress',
  'myIpAddressEx',
];

type FindProxy = (url: string, host: string) => unknown;

/** An engine that has nothing but look-ups, and those fail. Making one takes milliseconds. */
const ENGINE = createContext(
  Object.fromEntries(LOOKUPS.map((name) => [name, () => assert.fail(`${name}() is called`)])),
);

/** The script's function, which stays as it is when the engine gets another script. */
function load(rules: Rules, options: Partial<PacOptions> = {}): FindProxy {
  const script = renderPac(rules, { proxy: PROXY, everything: false, ...options });
  return new Script(`(function () {${script}; return FindProxyForURL; })()`).runInContext(ENGINE);
}

const place = { kind: 'argument', name: 'target' } as const;
const rule = (text: string): Rule => parseExclusion(text, place).target;
const nameRule = (text: string): NameRule => {
  const [name = '', ports] = text.split(':');
  return { pattern: parseNamePattern(name), ports: ports === undefined ? [] : parsePorts(ports) };
};

const RULES: Rules = {
  targets: ['10.0.0.0/8', '192.168.7.9:443', '2001:db8::/32', '2001:db9:0:1::5'].map(
    (text) => parseTarget(text, place).target,
  ),
  exclusions: ['10.1.0.0/16', '10.2.0.0/16:25', '2001:db8:1::/48:8000-8010,9000'].map(rule),
  nameTargets: ['api.example.com:443', '*.corp.example', '__proto__', 'localhost.corp'].map(
    nameRule,
  ),
  nameExclusions: ['www.corp.example', '*.out.corp.example:80,8080'].map(nameRule),
};

describe('the script for browsers', () => {
  const find = load(RULES);
  const table: readonly (readonly [url: string, host: string, through: boolean])[] = [
    // By name: itself, below, and neither.
    ['https://api.example.com/', 'api.example.com', true],
    ['https://API.Example.COM./', 'API.Example.COM.', true],
    ['https://x.api.example.com/', 'x.api.example.com', false],
    ['https://example.com/', 'example.com', false],
    ['http://a.corp.example/', 'a.corp.example', true],
    ['http://a.b.corp.example/', 'a.b.corp.example', true],
    ['http://A.B.CORP.example./', 'A.B.CORP.example.', true],
    ['http://corp.example/', 'corp.example', false],
    ['http://xcorp.example/', 'xcorp.example', false],
    // Ports of a target: the proxy says why it refuses the others.
    ['http://api.example.com/', 'api.example.com', true],
    // Exclusions by name, with ports, also those that the scheme implies.
    ['http://www.corp.example/', 'www.corp.example', false],
    ['http://in.out.corp.example/', 'in.out.corp.example', false],
    ['ws://in.out.corp.example/', 'in.out.corp.example', false],
    ['https://in.out.corp.example/', 'in.out.corp.example', true],
    ['wss://in.out.corp.example/', 'in.out.corp.example', true],
    ['https://in.out.corp.example:8080/', 'in.out.corp.example', false],
    ['https://user:443@in.out.corp.example:8080/a:1/', 'in.out.corp.example', false],
    ['http://in.out.corp.example:443?a@b:80', 'in.out.corp.example', true],
    // What every object has.
    ['http://__proto__/', '__proto__', true],
    ['http://constructor/', 'constructor', false],
    ['http://hasOwnProperty/', 'hasOwnProperty', false],
    // IPv4.
    ['http://10.0.0.0/', '10.0.0.0', true],
    ['http://10.255.255.255/', '10.255.255.255', true],
    ['http://9.255.255.255/', '9.255.255.255', false],
    ['http://11.0.0.0/', '11.0.0.0', false],
    ['http://10.1.2.3/', '10.1.2.3', false],
    ['http://10.2.2.3/', '10.2.2.3', true],
    ['http://10.2.2.3:25/', '10.2.2.3', false],
    ['https://192.168.7.9/', '192.168.7.9', true],
    ['https://192.168.7.8/', '192.168.7.8', false],
    // No addresses: four decimal numbers are one.
    ['http://10.1/', '10.1', false],
    ['http://010.0.0.1/', '010.0.0.1', false],
    ['http://10.0.0.256/', '10.0.0.256', false],
    // IPv6, with brackets and without.
    ['http://[2001:db8::1]/', '2001:db8::1', true],
    ['http://[2001:db8::1]/', '[2001:db8::1]', true],
    ['http://[2001:DB8:0:0:0:0:0:1]/', '2001:DB8:0:0:0:0:0:1', true],
    [
      'http://[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]/',
      '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff',
      true,
    ],
    ['http://[2001:db9::1]/', '2001:db9::1', false],
    ['http://[2001:db9:0:1::5]/', '2001:db9:0:1::5', true],
    ['http://[2001:db8:1::1]:8010/', '2001:db8:1::1', false],
    ['http://[2001:db8:1::1]:8011/', '2001:db8:1::1', true],
    ['http://[2001:db8:1::1]:9000/', '[2001:db8:1::1]', false],
    // IPv4-mapped.
    ['http://[::ffff:10.3.0.1]/', '::ffff:10.3.0.1', true],
    ['http://[::ffff:a03:1]/', '::ffff:a03:1', true],
    ['http://[::ffff:10.1.0.1]/', '[::ffff:10.1.0.1]', false],
    // Neither an address nor a name.
    ['http://[2001:db8::1%25eth0]/', '2001:db8::1%25eth0', false],
    ['http://[2001:db8:::1]/', '2001:db8:::1', false],
    ['http://[2001:db8::1::2]/', '2001:db8::1::2', false],
    ['nonsense', '', false],
    ['http://localhost/', 'localhost', false],
    ['http://127.0.0.1/', '127.0.0.1', false],
    ['http://localhost.corp/', 'localhost.corp', true],
  ];
  for (const [url, host, through] of table) {
    it(`${url} (${host}): ${through ? 'proxy' : 'direct'}`, () => {
      assert.equal(find(url, host), through ? THROUGH : 'DIRECT');
    });
  }

  it('sends everything but the exclusions where nothing is a target', () => {
    const everywhere = load(
      { ...RULES, targets: [], nameTargets: [] },
      { everything: true, proxy: '[::1]:3128' },
    );
    const through = 'PROXY [::1]:3128';
    assert.equal(everywhere('http://any.example/', 'any.example'), through);
    assert.equal(everywhere('http://203.0.113.1/', '203.0.113.1'), through);
    assert.equal(everywhere('http://localhost/', 'localhost'), through);
    assert.equal(everywhere('http://10.1.0.1/', '10.1.0.1'), 'DIRECT');
    assert.equal(everywhere('http://www.corp.example/', 'www.corp.example'), 'DIRECT');
    assert.equal(
      load({ targets: [], exclusions: [] })('http://any.example/', 'any.example'),
      'DIRECT',
    );
  });

  it('is ECMAScript 3 in ASCII, and can not be broken out of', () => {
    const script = renderPac(RULES, { proxy: '127.0.0.1:1"; alert(1); "', everything: false });
    assert.match(script, /^[\n\x20-\x7e]*$/);
    assert.doesNotMatch(
      script,
      /\b(const|let|class|includes|startsWith|endsWith|trim|forEach)\b|=>|`/,
    );
    assert.match(script, /"PROXY 127\.0\.0\.1:1\\"; alert\(1\); \\""/);
  });
});

// Few names and addresses, so that they meet.
const label = fc.constantFrom('a', 'b', 'corp', 'localhost', '__proto__', 'xn--bcher-kva');
const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
const port = fc.constantFrom(25, 80, 443, 8080, 65_535);
const ports = fc
  .constantFrom('', '25', '80,443', '1-80', '8080-65535')
  .map((text) => (text === '' ? [] : parsePorts(text)));
const ALL = ['0.0.0.0/0', '::/0', '::ffff:0:0/95', '10.0.0.0/8', '2001:db8::/32'].map(
  (text) => parsePrefix(text).prefix,
);
const prefix = fc
  .tuple(
    fc.constantFrom(...ALL, ...SPECIAL_RANGES.map((range) => range.prefix)),
    fc.nat(40),
    fc.bigInt(0n, (1n << 128n) - 1n),
  )
  .map(([wide, more, bits]) => {
    const { first, last } = prefixBounds(wide);
    const size = last - first + 1n;
    return prefixAround(
      first + (bits % size),
      wide.family,
      Math.min(wide.length + more, wide.family === 4 ? 32 : 128),
    );
  });
const rules = fc.array(fc.record({ prefix, ports }), { maxLength: 8 });
const nameRules = fc.array(
  fc.record({ pattern: fc.record({ name, below: fc.boolean() }), ports }),
  { maxLength: 4 },
);
const anyRules = fc.record({
  targets: rules,
  exclusions: rules,
  nameTargets: nameRules,
  nameExclusions: nameRules,
});

/** An address at an edge of a prefix of the rules, or a little beside it. */
function nearby({ targets, exclusions }: Rules, choice: number, beside: bigint): string {
  const prefixes = [...targets, ...exclusions, { prefix: ALL[3] ?? assert.fail() }];
  const chosen = prefixes[choice % prefixes.length]?.prefix ?? assert.fail();
  const { first, last } = prefixBounds(chosen);
  const top = 1n << (chosen.family === 4 ? 32n : 128n);
  const value = ((choice % 2 === 0 ? first : last) + beside + top) % top;
  return addressFromNumber(value, chosen.family);
}

/** Other ways to write the same host. */
function spelled(host: string, choice: number): string {
  const dot = isAddress(host) ? '' : '.';
  const mapped = host.includes(':') || !isAddress(host) ? host : `::ffff:${host}`;
  const long = !host.includes(':')
    ? host
    : (Buffer.from(addressBytes(host)).toString('hex').match(/.{4}/g) ?? []).join(':');
  const bracketed = host.includes(':') ? `[${host}]` : host;
  return (
    [host, host.toUpperCase(), `${host}${dot}`, mapped, long, bracketed][choice % 6] ??
    assert.fail()
  );
}

describe('the script and the policy', () => {
  for (const everything of [false, true]) {
    it(`decide the same ${everything ? 'where all is carried' : 'with targets'}`, () => {
      let through = 0;
      const beyond = everything ? 'tunnel' : 'direct';
      fc.assert(
        fc.property(
          anyRules,
          fc.array(fc.tuple(name, fc.nat(), fc.bigInt(-1n, 1n), fc.nat(), port), {
            minLength: 8,
            maxLength: 8,
          }),
          (given, requests) => {
            const find = load(given, { everything });
            const policy = createPolicy(given, { beyond, proxied: true });
            for (const [named, choice, beside, spelling, at] of requests) {
              const plain = choice % 3 === 0 ? named : nearby(given, choice, beside);
              const host = spelled(plain, spelling);
              const { kind } = policy.decide({
                host: canonicalHost(host.replace(/^\[|\]$/g, '')),
                port: at,
              });
              const expected = kind === 'tunnel' || kind === 'refuse' ? THROUGH : 'DIRECT';
              const url = `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${at}/`;
              assert.equal(find(url, host), expected, `${url} is ${kind}`);
              if (expected === THROUGH) through++;
            }
          },
        ),
        { numRuns: 200 },
      );
      assert.ok(through > 160 && through < 1560, `${through} of 1600 go through`);
    });
  }

  it('read the same texts as addresses', () => {
    const all = load({
      targets: ALL.slice(0, 2).map((prefix) => ({ prefix, ports: [] })),
      exclusions: [],
    });
    // Only addresses are targets here; those of special ranges are not, nor what they hold.
    const carried = (text: string) =>
      createPolicy(
        { targets: ALL.slice(0, 2).map((prefix) => ({ prefix, ports: [] })), exclusions: [] },
        { proxied: true },
      ).decide({
        host: canonicalHost(text),
        port: 80,
      }).kind === 'tunnel';
    const part = fc.constantFrom(
      '1',
      '20',
      '255',
      '256',
      '01',
      '',
      'ffff',
      '0',
      'db8',
      '12345',
      'g',
      '::',
      '1.2.3.4',
      '%1',
    );
    const text = fc
      .tuple(fc.array(part, { minLength: 1, maxLength: 9 }), fc.constantFrom(':', '.'))
      .map(([parts, by]) => parts.join(by));
    fc.assert(
      fc.property(text, (given) => {
        const bare = given.replace(/\.$/, '');
        const expected = isAddress(bare) && carried(bare);
        assert.equal(all('http://x/', given), expected ? THROUGH : 'DIRECT');
      }),
      { numRuns: 3000 },
    );
  });
});
