import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseTarget } from '../../../src/config/target.ts';
import { ExecPolicy } from '../../../src/policy/execpolicy.ts';
import { createPolicy } from '../../../src/policy/policy.ts';

function policy(isolate: boolean): ExecPolicy {
  const targets = ['10.0.0.0/8', '192.0.2.0/24:443'].map(
    (text) => parseTarget(text, { kind: 'argument', name: 'target' }).target,
  );
  return new ExecPolicy({
    targets: createPolicy({
      targets,
      exclusions: [parseTarget('10.9.0.0/16', { kind: 'option', name: '-x' }).target],
    }),
    isolate,
    resolvers: new Map([['198.18.0.53', '10.0.0.53']]),
    read: new Set(['10.1.2.53']),
  });
}

describe('ExecPolicy', () => {
  for (const [host, port, open, isolated] of [
    ['10.1.2.3', 80, 'tunnel', 'tunnel'],
    ['10.9.2.3', 80, 'direct', 'prohibited'],
    ['192.0.2.1', 443, 'tunnel', 'tunnel'],
    ['192.0.2.1', 80, 'prohibited', 'prohibited'],
    ['203.0.113.1', 80, 'direct', 'prohibited'],
    ['169.254.169.254', 80, 'direct', 'prohibited'],
    ['198.18.0.53', 53, 'direct', 'prohibited'],
    ['198.18.0.53', 80, 'refused', 'refused'],
    // A resolver that the command has read in the host's file, among the targets.
    ['10.1.2.53', 53, 'direct', 'prohibited'],
    ['10.1.2.53', 80, 'tunnel', 'tunnel'],
  ] as const) {
    it(`decides on ${host}:${port}`, () => {
      for (const [isolate, expected] of [
        [false, open],
        [true, isolated],
      ] as const) {
        const verdict = policy(isolate).decide({ host, port });
        assert.equal(verdict.kind === 'refuse' ? verdict.refusal : verdict.kind, expected);
      }
    });
  }

  it('sends no UDP through the tunnel, and queries to the real resolver', () => {
    const decide = (host: string, port: number) => policy(false).decideDatagram({ host, port });
    assert.deepEqual(decide('198.18.0.53', 53), {
      kind: 'direct',
      to: { host: '10.0.0.53', port: 53 },
    });
    assert.deepEqual(decide('203.0.113.1', 123), {
      kind: 'direct',
      to: { host: '203.0.113.1', port: 123 },
    });
    const refused = decide('10.0.0.1', 443);
    assert.ok(refused.kind === 'refuse' && refused.refusal === 'refused');
    const prohibited = policy(true).decideDatagram({ host: '198.18.0.53', port: 53 });
    assert.ok(prohibited.kind === 'refuse' && prohibited.refusal === 'prohibited');
  });
});
