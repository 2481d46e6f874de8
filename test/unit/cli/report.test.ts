import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { reportError } from '../../../src/cli/report.ts';
import { TunnelError } from '../../../src/errors/errors.ts';

describe('reportError', () => {
  it('is one line with the code, and one with the hint', () => {
    assert.equal(
      reportError(new TunnelError('auth-failed', 'the jump host refused', { hint: 'check -i' })),
      'tunnel: error [auth-failed]: the jump host refused\ntunnel: hint: check -i\n',
    );
    assert.equal(
      reportError(new TunnelError('link-lost', 'gone')),
      'tunnel: error [link-lost]: gone\n',
    );
  });

  it('strips what a server may have put into it', () => {
    const error = new TunnelError('auth-failed', 'banner: \u001b[2Jhi\ntunnel: ready', {
      hint: 'a\u0007b',
    });
    assert.equal(
      reportError(error),
      'tunnel: error [auth-failed]: banner: hi tunnel: ready\ntunnel: hint: a b\n',
    );
  });

  it('shows what nobody expected, with the stack only in detail', () => {
    const error = new TypeError('x is undefined');
    assert.match(
      reportError(error),
      /^tunnel: error \[unexpected\]: x is undefined\ntunnel: hint: .* -vv .*\n$/,
    );
    const detailed = reportError(error, true);
    assert.match(detailed, /^tunnel: {3}TypeError: x is undefined$/m);
    assert.match(detailed, /report\.test/);
    assert.ok(detailed.split('\n').every((line) => line === '' || line.startsWith('tunnel: ')));
    assert.match(reportError('a string'), /\[unexpected\]: a string/);
    assert.match(reportError(new RangeError()), /\[unexpected\]: RangeError/);
  });

  it('shows causes in detail, and ends when they form a ring', () => {
    const inner = new Error('connect ECONNREFUSED');
    const outer = new TunnelError('jumphost-refused', 'no answer', { cause: inner });
    assert.doesNotMatch(reportError(outer), /ECONNREFUSED/);
    assert.match(reportError(outer, true), /caused by Error: connect ECONNREFUSED/);
    inner.cause = outer;
    assert.ok(reportError(outer, true).length < 100_000);
  });
});
