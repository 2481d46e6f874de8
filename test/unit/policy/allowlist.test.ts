import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readAllowOptions } from '../../../src/config/allowfile.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import type { Level } from '../../../src/observe/observer.ts';
import { createAllowGuard, createAllowList } from '../../../src/policy/allowlist.ts';
import {
  DENIAL_INTERVAL_MS,
  MAX_DENIAL_MESSAGES,
  MAX_DENIED_DESTINATIONS,
} from '../../../src/policy/denials.ts';
import { ExecPolicy } from '../../../src/policy/execpolicy.ts';
import { MAX_LEARNED_DESTINATIONS } from '../../../src/policy/learned.ts';
import type { Policy } from '../../../src/policy/policy.ts';
import { givenOptions } from '../../support/options.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-allow-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function rulesOf(text: string) {
  const file = join(directory, 'allow');
  writeFileSync(file, text);
  const { rules } = readAllowOptions(givenOptions({ allow: file }));
  assert.ok(rules !== undefined);
  return rules;
}

const EXAMPLE = `
# the cloud
203.0.113.0/24:443,8774-8780   # compute
203.0.113.7                    # all ports
2001:db8::/64:443
api.example.com:443
*.svc.example.com
`;

/** Everything inside 10/8 goes directly, everything else through the tunnel. */
const everything: Policy = {
  decide: ({ host }) =>
    host.startsWith('10.') ? { kind: 'direct', why: 'no target' } : { kind: 'tunnel' },
};

function guardOf(text: string | undefined, dryRun = false) {
  let time = 0;
  const logged: string[] = [];
  const counters = new Map<string, number>();
  const guard = createAllowGuard({
    rules: text === undefined ? undefined : rulesOf(text),
    dryRun,
    now: () => time,
    observer: {
      log: (level: Level, message: string) => logged.push(`${level}: ${message}`),
      count: (name, n = 1) => counters.set(name, (counters.get(name) ?? 0) + n),
    },
  });
  const policy = guard.guard(everything);
  return {
    guard,
    policy,
    logged,
    counters,
    pass: (ms: number) => {
      time += ms;
    },
    ask: (host: string, port: number) => policy.decide({ host, port }),
  };
}

describe('the allow-list', () => {
  for (const [host, port, permitted] of [
    ['203.0.113.1', 443, true],
    ['203.0.113.1', 8776, true],
    ['203.0.113.1', 22, false],
    ['203.0.113.7', 22, true],
    ['203.0.114.1', 443, false],
    ['2001:db8::5', 443, true],
    ['2001:db8::5', 80, false],
    ['api.example.com', 443, true],
    ['api.example.com', 80, false],
    ['other.example.com', 443, false],
    ['svc.example.com', 443, false],
    ['a.b.svc.example.com', 1, true],
    ['svc.example.com.evil.example', 443, false],
  ] as const) {
    it(`${permitted ? 'permits' : 'denies'} ${host} port ${port}`, () => {
      assert.equal(createAllowList(rulesOf(EXAMPLE)).permits({ host, port }), permitted);
    });
  }

  it('without rules denies everything', () => {
    assert.equal(
      createAllowList(rulesOf('# nothing\n')).permits({ host: '203.0.113.1', port: 443 }),
      false,
    );
  });

  it('is asked for what goes through the tunnel only', () => {
    const { ask } = guardOf(EXAMPLE);
    assert.deepEqual(ask('203.0.113.1', 443), { kind: 'tunnel' });
    assert.equal(ask('10.0.0.1', 22).kind, 'direct');
    assert.deepEqual(ask('203.0.113.1', 22), {
      kind: 'refuse',
      refusal: 'prohibited',
      why: 'the allow-list has no rule for 203.0.113.1:22',
    });
  });

  it('is asked for what goes directly, too, where that is wanted', () => {
    const { guard, logged } = guardOf('10.0.0.1:22\n');
    const { decide } = guard.guard(everything, { direct: true });
    assert.equal(decide({ host: '10.0.0.1', port: 22 }).kind, 'direct');
    assert.equal(decide({ host: '10.0.0.2', port: 22 }).kind, 'refuse');
    assert.equal(logged.length, 1);
  });

  it('is asked for datagrams of a command likewise, but not for queries to its resolver', () => {
    const { guard } = guardOf('10.0.0.1:123\n');
    const policy = new ExecPolicy({
      targets: guard.guard(everything, { direct: true }),
      isolate: false,
      resolvers: new Map([['198.18.0.53', '10.0.0.53']]),
    });
    const kindOf = (host: string, port: number) => policy.decideDatagram({ host, port }).kind;
    assert.equal(kindOf('10.0.0.1', 123), 'direct');
    assert.equal(kindOf('10.0.0.1', 443), 'refuse');
    assert.equal(kindOf('198.18.0.53', 53), 'direct');
  });

  it('permits an address by a name that it is known by, each way by those that are known there', () => {
    const { guard, logged } = guardOf('api.example.com:443\n');
    const { decide } = guard.guard(everything, {
      direct: true,
      namesOf: (address, way) =>
        way === 'direct'
          ? ({ '10.0.0.1': ['api.example.com'], '10.0.0.2': ['b.example', 'c.example'] }[address] ??
            [])
          : ({ '203.0.113.1': ['api.example.com'] }[address] ?? []),
    });
    const kindOf = (host: string, port: number) => decide({ host, port }).kind;
    assert.equal(kindOf('10.0.0.1', 443), 'direct');
    assert.equal(kindOf('10.0.0.1', 80), 'refuse');
    assert.equal(kindOf('203.0.113.1', 443), 'tunnel');
    assert.equal(kindOf('203.0.113.2', 443), 'refuse');
    assert.equal(kindOf('10.0.0.2', 443), 'refuse');
    assert.match(
      logged.at(-1) ?? '',
      /^warning: 10\.0\.0\.2:443 is denied .* the rule to add: b\.example:443$/,
    );
  });

  it('is replaced, for the policies that it guards already', () => {
    const { guard, policy } = guardOf(undefined);
    assert.equal(guard.active, false);
    const destination = { host: '192.0.2.1', port: 443 };
    assert.equal(policy.decide(destination).kind, 'tunnel');
    guard.setRules(rulesOf('192.0.2.2:443\n'));
    assert.equal(guard.active, true);
    assert.equal(policy.decide(destination).kind, 'refuse');
    guard.setRules(rulesOf('192.0.2.1:443\n'));
    assert.equal(policy.decide(destination).kind, 'tunnel');
    assert.equal(guard.learned(), undefined);
  });

  it('says where a rule is wrong', () => {
    for (const [text, message] of [
      ['api.example.com:443\n300.1.1.1\n', /allow:2/],
      ['a b\n', /allow:1: "a b"/],
      ['*.example.com:0\n', /ports are 1 to/],
      ['under score!.example\n', /allow:1/],
    ] as const) {
      assert.throws(
        () => rulesOf(text),
        (error) => error instanceof UsageError && message.test(error.message),
        text,
      );
    }
  });
});

describe('denials', () => {
  it('are logged once a minute for each destination, with the rule to add', () => {
    const { ask, logged, pass, counters } = guardOf('');
    for (let i = 0; i < 3; i += 1) ask('api.example.com', 443);
    ask('2001:db8::1', 22);
    assert.deepEqual(logged, [
      'warning: api.example.com:443 is denied by the allow-list; the rule to add: api.example.com:443',
      'warning: [2001:db8::1]:22 is denied by the allow-list; the rule to add: [2001:db8::1]:22',
    ]);
    pass(DENIAL_INTERVAL_MS - 1);
    ask('api.example.com', 443);
    assert.equal(logged.length, 2);
    pass(1);
    ask('api.example.com', 443);
    assert.match(logged[2] ?? '', /and 3 more times before/);
    assert.equal(counters.get('tunnel_allowlist_denied_total'), 6);
  });

  it('fill neither the log nor the memory', () => {
    const { ask, logged, pass, counters } = guardOf('');
    for (let i = 0; i < MAX_DENIED_DESTINATIONS + 100; i += 1) ask('203.0.113.9', i + 1);
    assert.equal(logged.length, MAX_DENIAL_MESSAGES);
    assert.equal(counters.get('tunnel_allowlist_forgotten_total'), 100);
    pass(DENIAL_INTERVAL_MS);
    ask('203.0.113.8', 1);
    const silent = MAX_DENIED_DESTINATIONS + 100 - MAX_DENIAL_MESSAGES;
    assert.equal(
      logged.at(-2),
      `warning: ${silent} more destinations were denied by the allow-list`,
    );
  });
});

describe('a dry run', () => {
  it('denies nothing, and tells the smallest list that permits the same', () => {
    const { ask, guard, logged } = guardOf('203.0.113.0/24:443\n', true);
    for (const [host, port] of [
      ['203.0.113.1', 443],
      ['203.0.113.1', 8774],
      ['203.0.113.1', 8775],
      ['203.0.113.10', 443],
      ['203.0.113.9', 443],
      ['2001:db8::1', 443],
      ['api.example.com', 443],
      ['api.example.com', 443],
      ['10.0.0.1', 22],
    ] as const) {
      assert.notEqual(ask(host, port).kind, 'refuse');
    }
    assert.deepEqual(logged, []);
    const list = guard.learned() ?? '';
    assert.deepEqual(list.split('\n'), [
      '# what this run has asked for',
      'api.example.com:443  # denied by the current list',
      '[2001:db8::1]:443  # denied by the current list',
      '203.0.113.1:443,8774-8775  # denied by the current list',
      '203.0.113.9:443',
      '203.0.113.10:443',
      '',
    ]);
    const learned = guardOf(list);
    assert.equal(learned.ask('203.0.113.1', 8775).kind, 'tunnel');
    assert.equal(learned.ask('2001:db8::1', 443).kind, 'tunnel');
    assert.equal(learned.ask('203.0.113.1', 8776).kind, 'refuse');
  });

  it('learns a name rather than the address, past the tunnel: addresses change', () => {
    const { guard } = guardOf(undefined, true);
    const { decide } = guard.guard(everything, {
      direct: true,
      namesOf: (address) => (address.endsWith('.1') ? ['api.example.com'] : []),
    });
    for (const host of ['10.0.0.1', '10.0.0.2', '203.0.113.1']) decide({ host, port: 443 });
    assert.deepEqual((guard.learned() ?? '').split('\n').slice(1), [
      'api.example.com:443',
      '10.0.0.2:443',
      '203.0.113.1:443',
      '',
    ]);
  });

  it('remembers a limited number, and says that there was more', () => {
    const { ask, guard, counters } = guardOf(undefined, true);
    for (let i = 0; i < MAX_LEARNED_DESTINATIONS + 7; i += 1) ask('203.0.113.9', i + 1);
    assert.match(guard.learned() ?? '', /and 7 more connections/);
    assert.equal(counters.get('tunnel_allowlist_unlearned_total'), 7);
    assert.match(guard.learned() ?? '', /203\.0\.113\.9:1-4096/);
  });
});
