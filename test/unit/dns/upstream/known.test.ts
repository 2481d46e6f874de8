/** Names that addresses were answered for, and addresses of names by way of a resolver. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Answer, encode } from 'dns-packet';
import { lookupAddresses, MAX_ADDRESSES } from '../../../../src/dns/upstream/addresses.ts';
import {
  KEPT_AFTER_MS,
  KnownNames,
  MAX_KNOWN,
  MAX_NAMES_OF_AN_ADDRESS,
  RecordingResolver,
} from '../../../../src/dns/upstream/known.ts';
import { type Resolver, takeAnswer } from '../../../../src/dns/upstream/resolver.ts';
import { readMessage, Type } from '../../../../src/dns/wire/message.ts';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { question } from '../server/support.ts';

/**
 * `alias.example` is `www.corp.example`, which has addresses; `half.example` can't be asked for
 * AAAA; others don't exist.
 */
const RESOLVER: Resolver = {
  async resolve({ name, type }) {
    if (name === 'half.example' && type === Type.AAAA) throw new Error('no answer');
    if (name === 'dead.example') throw new Error('no answer');
    const owner = 'www.corp.example';
    const many = Array.from({ length: 30 }, (_, i) => ({
      type: 'A' as const,
      name,
      ttl: 60,
      data: `10.1.0.${i}`,
    }));
    const records =
      name === 'many.example'
        ? many
        : type === Type.A
          ? [{ type: 'A' as const, name: owner, ttl: 60, data: '10.77.0.11' }]
          : [{ type: 'AAAA' as const, name: owner, ttl: 60, data: '2001:DB8:77::11' }];
    const alias = name === owner ? [] : [{ type: 'CNAME' as const, name, ttl: 60, data: owner }];
    const exists = name !== 'missing.example';
    const bytes = encode({
      type: 'response',
      flags: exists ? 0 : 3,
      questions: [{ type: type === Type.A ? 'A' : 'AAAA', name }],
      answers: exists ? (name === 'many.example' ? records : [...alias, ...records]) : [],
    });
    return takeAnswer(bytes, readMessage(bytes));
  },
  close() {},
};

describe('names that addresses were answered for', () => {
  it('are the one that was asked for and the one that aliases lead to', async () => {
    const known = new KnownNames({ observer: silentObserver });
    await new RecordingResolver(RESOLVER, known).resolve(question('alias.example', Type.AAAA));
    assert.deepEqual(known.of('2001:db8:77::11').sort(), ['alias.example', 'www.corp.example']);
    assert.deepEqual(known.of('10.77.0.11'), []);
  });

  it('are not what an answer says of other names, nor of aliases that lead nowhere', async () => {
    const names = ['asked.example', 'alias.example', 'loop.example'];
    const cname = (from: number, to: number) => ({
      type: 'CNAME' as const,
      name: names[from] ?? '',
      ttl: 60,
      data: names[to] ?? '',
    });
    const address = (name: string, data: string) => ({ type: 'A' as const, name, ttl: 60, data });
    const answerOf = (answers: Answer[]) => {
      const questions = [{ type: 'A' as const, name: 'asked.example' }];
      const bytes = encode({ type: 'response', questions, answers });
      return takeAnswer(bytes, readMessage(bytes));
    };
    const known = new KnownNames({ observer: silentObserver });
    const learn = (...answers: Answer[]) =>
      new RecordingResolver({ resolve: async () => answerOf(answers), close() {} }, known).resolve(
        question('asked.example'),
      );
    await learn(address('www.corp.example', '10.0.0.1'), address('ASKED.example', '10.0.0.2'));
    assert.deepEqual(known.of('10.0.0.1'), []);
    assert.deepEqual(known.of('10.0.0.2'), ['asked.example']);
    // Out of order, and in a circle.
    await learn(cname(1, 2), cname(0, 1), address('loop.example', '10.0.0.3'));
    assert.deepEqual(known.of('10.0.0.3'), ['asked.example', 'loop.example']);
    await learn(cname(0, 1), cname(1, 0), address('loop.example', '10.0.0.4'));
    assert.deepEqual(known.of('10.0.0.4'), []);
  });

  it('are forgotten with their TTL, but not at once', () => {
    let now = 0;
    const known = new KnownNames({ observer: silentObserver, now: () => now });
    known.add('long.example', { address: '10.0.0.1', ttl: 60 });
    known.add('short.example', { address: '10.0.0.1', ttl: 0 });
    assert.deepEqual(known.of('10.0.0.1'), ['short.example', 'long.example']);
    now = KEPT_AFTER_MS;
    assert.deepEqual(known.of('10.0.0.1'), ['long.example']);
    now = 60_000;
    assert.deepEqual(known.of('10.0.0.1'), ['long.example']);
    now += KEPT_AFTER_MS;
    assert.deepEqual(known.of('10.0.0.1'), []);
  });

  it('are bounded, by address and by name', () => {
    const counted = new Map<string, number>();
    const count = (name: string) => counted.set(name, (counted.get(name) ?? 0) + 1);
    const known = new KnownNames({ observer: { ...silentObserver, count } });
    for (const name of ['a\\032b.example', '10.77.0.1', 'x.127', '*.example'])
      known.add(name, { address: '10.0.0.1', ttl: 60 });
    assert.deepEqual(known.of('10.0.0.1'), [], 'no host has such a name');
    for (let i = 0; i < 20; i++) known.add(`n${i}.example`, { address: '10.0.0.1', ttl: 60 });
    assert.equal(known.of('10.0.0.1').length, MAX_NAMES_OF_AN_ADDRESS);
    assert.equal(known.of('10.0.0.1')[0], 'n19.example');
    const forgotten = () => counted.get('tunnel_dns_known_over_limit_total');
    assert.equal(forgotten(), 20 - MAX_NAMES_OF_AN_ADDRESS);
    for (let i = 0; i < MAX_KNOWN; i++)
      known.add('x.example', { address: `10.${i >> 8}.${i & 255}.2`, ttl: 60 });
    assert.deepEqual(known.of('10.0.0.2'), ['x.example']);
    assert.deepEqual(known.of('10.0.0.1'), []);
    assert.equal(forgotten(), 20 - MAX_NAMES_OF_AN_ADDRESS + 1);
  });
});

describe('addresses of a name', () => {
  it('are those of both families, IPv4 first, canonical and bounded', async () => {
    assert.deepEqual(await lookupAddresses(RESOLVER, 'alias.example'), [
      '10.77.0.11',
      '2001:db8:77::11',
    ]);
    assert.equal((await lookupAddresses(RESOLVER, 'many.example')).length, MAX_ADDRESSES);
    assert.deepEqual(await lookupAddresses(RESOLVER, 'missing.example'), []);
  });

  it('are had when one family answers', async () => {
    assert.deepEqual(await lookupAddresses(RESOLVER, 'half.example'), ['10.77.0.11']);
    await assert.rejects(lookupAddresses(RESOLVER, 'dead.example'), /no answer/);
  });
});
