/** Which addresses a name of the outside world may have. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Answer } from 'dns-packet';
import {
  MAX_WARNINGS,
  RebindingGuard,
  type RebindingOptions,
  RebindingRules,
} from '../../../../src/dns/upstream/rebinding.ts';
import { takeAnswer } from '../../../../src/dns/upstream/resolver.ts';
import { readMessage } from '../../../../src/dns/wire/message.ts';
import type { Question } from '../../../../src/dns/wire/query.ts';
import { parsePrefix } from '../../../../src/net/prefix.ts';
import type { Observer } from '../../../../src/observe/observer.ts';
import {
  a,
  answerBytes,
  CountingObserver,
  FakeResolver,
  question,
  read,
  upstreamAnswer,
} from '../server/support.ts';

class Log implements Observer {
  readonly said: string[] = [];
  readonly #counting = new CountingObserver();

  log(...[, message, fields]: Parameters<Observer['log']>): void {
    this.said.push(`${message}; ${JSON.stringify(fields)}`);
  }

  count(name: string, n = 1): void {
    this.#counting.count(name, n);
  }

  of(name: string): number {
    return this.#counting.of(name);
  }
}

function setUp(answers: (asked: Question) => Answer[], options: Partial<RebindingOptions> = {}) {
  const observer = new Log();
  const upstream = new FakeResolver((asked) => upstreamAnswer(asked, { answers: answers(asked) }));
  const guard = new RebindingGuard(upstream, new RebindingRules({ observer, ...options }));
  const ask = async (name: string, type = 1) => {
    const { message, rcode } = await guard.resolve(question(name, type));
    const { answers: found = [], authorities = [] } = read(message);
    return { rcode, found, authorities };
  };
  return { guard, observer, ask };
}

const of = (address: string, name: string): Answer =>
  address.includes(':') ? { type: 'AAAA', name, ttl: 60, data: address } : a(name, address);

describe('an answer for a name outside', () => {
  for (const address of [
    '198.18.64.9',
    '198.19.255.1',
    '2001:2:0:8000::9',
    '127.0.0.1',
    '127.8.8.8',
    '0.0.0.0',
    '169.254.169.254',
    '::1',
    '::',
    'fe80::1',
    '::ffff:127.0.0.1',
    '::ffff:198.18.64.9',
    '::127.0.0.1',
  ]) {
    it(`is refused with ${address}`, async () => {
      const { ask, observer } = setUp(({ name }) => [a(name, '192.0.2.1'), of(address, name)]);
      const { rcode, found, authorities } = await ask('evil.example');
      assert.deepEqual([rcode, found, authorities[0]?.type], [0, [], 'SOA']);
      assert.equal(observer.of('tunnel_dns_rebinding_refused_total'), 1);
      assert.match(observer.said.join(), /evil\.example.*--(rebind-domain-ok|virtual-range)/);
    });
  }

  it('is passed on with any other address, as it is', async () => {
    const far = ['192.0.2.1', '10.0.0.1', '192.168.1.1', '100.64.0.1', '198.20.0.1'];
    const { ask, observer } = setUp(({ name }) => far.map((address) => a(name, address)));
    assert.equal((await ask('www.example')).found.length, far.length);
    const six = setUp(({ name }) => ['2001:db8::1', 'fd00::1'].map((it) => of(it, name)));
    assert.equal((await six.ask('www.example', 28)).found.length, 2);
    assert.deepEqual(observer.said, []);
  });

  it('is refused for what an alias of it has, and for what it has in passing', async () => {
    const { ask } = setUp(({ name }) => [
      { type: 'CNAME', name, ttl: 60, data: 'alias.example' },
      a('alias.example', '127.0.0.1'),
    ]);
    assert.deepEqual((await ask('evil.example')).found, []);
    const passing = setUp(({ name }) => [a(name, '192.0.2.1'), a('other.example', '127.0.0.1')]);
    assert.deepEqual((await passing.ask('evil.example')).found, []);
  });

  it('is refused for its hints', async () => {
    const hint = (key: number, octets: readonly number[]) =>
      Buffer.from([
        0,
        1,
        1,
        0x78,
        0,
        0,
        1,
        0,
        3,
        2,
        0x68,
        0x32,
        0,
        key,
        0,
        octets.length,
        ...octets,
      ]);
    for (const [data, passed] of [
      [hint(4, [192, 0, 2, 1, 127, 0, 0, 1]), false],
      [hint(6, [...Array.from({ length: 15 }, () => 0), 1]), false],
      [hint(4, [192, 0, 2, 1]), true],
      [Buffer.from([0, 1, 60]), true],
    ] as const) {
      const observer = new Log();
      const asked = question('evil.example', 65);
      const bytes = withRecord(answerBytes(asked, 0, {}), 65, data);
      const answer = takeAnswer(bytes, readMessage(bytes));
      const rules = new RebindingRules({ observer });
      assert.equal(rules.screen(asked, answer) === answer, passed, data.toString('hex'));
    }
  });
});

describe('an exception', () => {
  const loop = ({ name }: Question) => [a(name, '127.0.0.1')];
  const virtual = ({ name }: Question) => [a(name, '198.18.64.9')];
  const link = ({ name }: Question) => [a(name, '169.254.1.1')];

  it('is made for the domains that are given, and for no others', async () => {
    const permitted = ['dev.example'];
    for (const answers of [loop, virtual, link]) {
      const { ask } = setUp(answers, { permitted });
      assert.equal((await ask('dev.example')).found.length, 1);
      assert.equal((await ask('a.b.dev.example')).found.length, 1);
      assert.equal((await ask('evildev.example')).found.length, 0);
    }
  });

  it("is made for the zones behind the jump host, but not with the tunnel's addresses", async () => {
    const inside = ['corp.example'];
    assert.equal((await setUp(loop, { inside }).ask('a.corp.example')).found.length, 1);
    assert.equal((await setUp(link, { inside }).ask('a.corp.example')).found.length, 1);
    assert.equal((await setUp(virtual, { inside }).ask('a.corp.example')).found.length, 0);
  });

  it('is made for link-local addresses of names that are found on the link', async () => {
    for (const name of ['printer.local', '_gateway']) {
      assert.equal((await setUp(link).ask(name)).found.length, 1);
      assert.equal((await setUp(loop).ask(name)).found.length, 0);
    }
    assert.equal((await setUp(link).ask('evil.local.example')).found.length, 0);
  });

  it('is the range that has been left to another program', async () => {
    const own = [parsePrefix('100.127.0.0/18').prefix];
    assert.equal((await setUp(virtual, { own }).ask('www.example')).found.length, 1);
    const moved = setUp(({ name }) => [a(name, '100.127.3.4')], { own });
    assert.equal((await moved.ask('www.example')).found.length, 0);
  });
});

describe('warnings', () => {
  it('are told once a name, and for so many names; all are counted', async () => {
    const { ask, observer } = setUp(({ name }) => [a(name, '127.0.0.1')]);
    for (let i = 0; i < MAX_WARNINGS + 5; i++) {
      await ask(`n${i}.example`);
      await ask(`n${i}.example`);
    }
    assert.equal(observer.said.length, MAX_WARNINGS);
    assert.equal(observer.of('tunnel_dns_rebinding_refused_total'), 2 * (MAX_WARNINGS + 5));
  });
});

/** A message with one more record of the question's name in the answer section. */
function withRecord(message: Buffer, type: number, data: Buffer): Buffer {
  const head = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length]);
  const bytes = Buffer.concat([message, head, data]);
  bytes.writeUInt16BE(1, 6);
  return bytes;
}
