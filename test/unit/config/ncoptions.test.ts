import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildNcConfiguration } from '../../../src/config/ncoptions.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { given } from '../../support/options.ts';

const build = (...words: readonly string[]) => {
  const line = given({ remote: ['user@jumphost'] });
  const operands = words.map((text) => ({
    text,
    place: { kind: 'argument', name: 'target' } as const,
  }));
  return buildNcConfiguration(line, operands);
};

describe('tunnel nc', () => {
  for (const [host, port, destination] of [
    ['DB.internal.', '5432', { host: 'db.internal', port: 5432 }],
    ['localhost', '22', { host: 'localhost', port: 22 }],
    ['2001:DB8::5', '443', { host: '2001:db8::5', port: 443 }],
    ['[::1]', '65535', { host: '::1', port: 65535 }],
  ] as const)
    it(`connects to ${host} ${port}`, () => {
      const { tunnel, destination: found } = build(host, port);
      assert.deepEqual(found, destination);
      assert.deepEqual([tunnel.targets, tunnel.forwards], [[], []]);
    });

  for (const [words, message] of [
    [[], /nothing to connect to/],
    [['host'], /"host" has no port/],
    [['host:22'], /"host:22" has host and port in one word/],
    [['[::1]:22'], /has host and port in one word/],
    [['::1'], /"::1" has no port/],
    [['host', '22', '23'], /"23" is one word too many/],
    [['host', '0'], /"0" is not a port/],
    [['host', '65536'], /"65536" is not a port/],
    [['host', 'nosuchservice'], /"nosuchservice" is not a port/],
    [['a b', '22'], /"a b" is not a host name/],
    [['127.1', '22'], /neither a name nor an address/],
    [['[::1', '22'], /is not a host name|IPv6/],
  ] as const)
    it(`refuses ${JSON.stringify(words)}`, () => {
      assert.throws(
        () => build(...words),
        (error) => error instanceof UsageError && message.test(error.message),
      );
    });

  it('says how to write what -W of ssh takes', () => {
    for (const [word, hint] of [
      ['db.internal:5432', 'write two words: db.internal 5432'],
      ['[2001:db8::5]:443', 'write two words: 2001:db8::5 443'],
    ] as const)
      assert.throws(() => build(word), { hint });
  });
});
