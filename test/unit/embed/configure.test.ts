import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { configurationOf } from '../../../src/embed/configure.ts';
import type { OpenTunnelOptions } from '../../../src/embed/options.ts';

describe('configurationOf', () => {
  it('reads the options as the command line does', () => {
    const { ssh, allow, proxies } = configurationOf({
      remote: ['user@a.example', 'user@b.example:2222'],
      port: 22,
      identity: '/keys/one',
      jump: 'c.example',
      keepalive: 5,
      onDemand: true,
      idleDisconnect: 60,
      oneKey: false,
      allow: ['10.0.0.0/8:443', '*.example.com'],
    });
    assert.deepEqual(
      ssh.remotes.map(({ host, port }) => [host, port]),
      [
        ['a.example', undefined],
        ['b.example', 2222],
      ],
    );
    assert.deepEqual(ssh.identityFiles, ['/keys/one']);
    assert.equal(ssh.jump?.[0]?.host, 'c.example');
    assert.equal(ssh.keepalive, 5);
    assert.deepEqual(ssh.onDemand, { idleDisconnect: 60 });
    assert.equal(ssh.oneKey, false);
    assert.equal(allow.rules?.prefixes.length, 1);
    assert.equal(allow.rules?.names.length, 1);
    assert.equal(proxies, undefined);
  });

  it('takes undefined for what is left out', () => {
    // As compilers see it under exactOptionalPropertyTypes.
    const options: OpenTunnelOptions = { remote: 'a.example', port: undefined, log: undefined };
    assert.equal(configurationOf(options).ssh.port, undefined);
  });

  it('names the option that is wrong', () => {
    const remote = 'user@a.example';
    const wrong: readonly [object, RegExp][] = [
      [{}, /^remote: no jump host/],
      [{ remote: [] }, /^remote: no jump host/],
      [{ remote, timeout: 1 }, /no option "timeout"/],
      [{ remote, port: 0 }, /^port/],
      [{ remote, hostKey: 'nonsense' }, /^hostKey/],
      [{ remote, idleDisconnect: 5 }, /^idleDisconnect/],
      [{ remote, allow: [] }, /^allow: there is no rule/],
      [{ remote, identity: [{}] }, /^identity: a value is neither/],
      [{ remote: null }, /^remote: null/],
      [{ remote: false }, /^remote: a value is neither/],
      [{ remote, jump: ['a', 'b'] }, /^jump: it takes one value/],
      [{ remote, keepalive: false }, /^keepalive: a value is neither/],
      // As a program has them that reads its own configuration.
      [{ remote, onDemand: 'false' }, /^onDemand: it must be true or false/],
      [{ remote, oneKey: 0 }, /^oneKey: it must be true or false/],
      [{ remote, prompt: 'secret' }, /^prompt: it must be a function/],
      [{ remote, log: console }, /^log: it must be a function/],
      [{ remote, signal: new AbortController() }, /^signal: it must be an AbortSignal/],
    ];
    for (const [options, message] of wrong)
      assert.throws(() => configurationOf(options as { remote: string }), {
        name: 'UsageError',
        message,
      });
    for (const options of [undefined, null, 'user@a.example'])
      assert.throws(() => configurationOf(options as unknown as { remote: string }), {
        name: 'UsageError',
        message: /takes an object/,
      });
  });
});
