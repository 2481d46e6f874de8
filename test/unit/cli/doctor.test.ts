/** What `tunnel doctor` makes of its findings: a table, JSON, one line, and an exit status. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatJson, formatLine, formatTable, verdictOf } from '../../../src/cli/doctor.ts';
import type { Diagnosis, Finding } from '../../../src/system/doctor/diagnosis.ts';

const CAPTURES: Diagnosis['captures'] = [
  { name: 'connect', possible: true, why: 'captures' },
  { name: 'exec', possible: false, why: 'no namespaces' },
  { name: 'proxy', possible: true, why: 'needs nothing' },
];
const JUMP_HOST: Finding = { name: 'jump-host', state: 'ok', detail: 'u@jump is 192.0.2.1' };
const OPENED: Finding = { name: 'forwarding', subject: 'a:1', state: 'ok', detail: 'a:1: opened' };
const failed = (name: Finding['name'], code?: Finding['code']): Finding => ({
  name,
  state: 'failed',
  detail: `${name} fails`,
  ...(code && { code }),
});

describe('verdictOf', () => {
  for (const [what, findings, exitStatus, line] of [
    ['nothing wrong', [JUMP_HOST, OPENED], 0, 'u@jump is 192.0.2.1; 1 destination forwarded'],
    [
      'warnings',
      [JUMP_HOST, { name: 'routes', state: 'warning', detail: 'x' }],
      0,
      'u@jump is 192.0.2.1; warnings: routes',
    ],
    ['a refused login', [failed('authentication', 'auth-failed')], 3, 'authentication fails'],
    ['a wrong host key', [failed('host-key', 'host-key-changed')], 4, 'host-key fails'],
    ['no jump host', [failed('jump-host', 'jumphost-refused')], 5, 'jump-host fails'],
    ['a target', [JUMP_HOST, failed('forwarding', 'connect-refused')], 5, 'forwarding fails'],
    ['a resolver', [JUMP_HOST, failed('dns', 'dns-timeout')], 5, 'dns fails'],
    ['a port in use', [failed('proxies', 'capture-listen')], 6, 'proxies fails'],
    [
      'several, the first of which counts',
      [failed('jump-host', 'jumphost-dns'), failed('routes')],
      5,
      'jump-host fails (and 1 more)',
    ],
    ['one capture of two', [failed('namespaces', 'namespace-refused')], 0, 'connect, proxy'],
  ] as const satisfies readonly (readonly [string, readonly Finding[], number, string])[]) {
    it(`of ${what}: ${exitStatus}`, () => {
      const verdict = verdictOf({ captures: CAPTURES, findings });
      assert.equal(verdict.exitStatus, exitStatus);
      assert.equal(verdict.state, exitStatus === 0 ? 'ok' : 'problem');
      assert.ok(verdict.line.includes(line), verdict.line);
    });
  }

  it('of a machine that can capture nothing: 6', () => {
    const captures = CAPTURES.map((capture) => ({
      ...capture,
      possible: capture.name === 'proxy',
    }));
    assert.equal(verdictOf({ captures, findings: [JUMP_HOST] }).exitStatus, 6);
  });
});

describe('the report', () => {
  const diagnosis: Diagnosis = {
    captures: CAPTURES,
    findings: [JUMP_HOST, { ...failed('dns'), detail: 'no\u001b[31m answer', hint: 'do this' }],
  };

  it('is a table, in which no control character is left', () => {
    const table = formatTable(diagnosis);
    assert.match(table, /^jump-host {2}ok {3}u@jump is 192\.0\.2\.1$/m);
    assert.match(table, /^ +-> do this$/m);
    assert.doesNotMatch(table, /\u001b/);
  });

  it('is JSON with a verdict', () => {
    const report = JSON.parse(formatJson(diagnosis, false));
    assert.equal(report.state, 'problem');
    assert.equal(report.exitStatus, 5);
    assert.equal(report.findings.length, 2);
    const line = formatJson(diagnosis, true);
    assert.equal(line.trimEnd().split('\n').length, 1);
    assert.deepEqual(Object.keys(JSON.parse(line)), ['state', 'exitStatus', 'summary']);
  });

  it('is one line', () => {
    assert.equal(
      formatLine({ captures: CAPTURES, findings: [JUMP_HOST] }),
      'ok: u@jump is 192.0.2.1\n',
    );
    assert.match(formatLine(diagnosis), /^problem: dns: no.*answer\n$/);
  });
});
