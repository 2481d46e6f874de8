/** The command line of `tunnel doctor`: that of `connect`, and what the report is like. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildDoctorConfiguration } from '../../../src/config/doctoroptions.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { given, type OptionTexts } from '../../support/options.ts';

const REMOTE = { remote: ['u@jump'] };
const build = (options: OptionTexts, targets: readonly string[] = []) =>
  buildDoctorConfiguration(given(options, targets));

function refused(options: OptionTexts, pattern: RegExp): void {
  assert.throws(
    () => build(options),
    (error) => error instanceof UsageError && pattern.test(error.message) && error.hint !== '',
  );
}

describe('buildDoctorConfiguration', () => {
  it('needs neither a jump host nor a target', () => {
    const alone = build({});
    assert.equal(alone.tunnel, undefined);
    assert.deepEqual(alone.rules.targets, []);
    const targets = build({ exclude: ['10.1.0.0/16'] }, ['10/8', 'api.example.com']).rules;
    assert.equal(targets.targets.length, 1);
    assert.equal(targets.nameTargets.length, 1);
    assert.equal(targets.exclusions.length, 1);
    assert.deepEqual(build(REMOTE).tunnel?.targets, []);
  });

  it('takes the options of connect', () => {
    const { tunnel, rules } = build(
      { ...REMOTE, dnsServer: ['10.0.0.53'], listen: ['1080'], exclude: ['10.1.0.0/16'] },
      ['10.0.0.0/8'],
    );
    assert.equal(tunnel?.dns.servers.length, 1);
    assert.equal(tunnel?.proxies?.listens.length, 1);
    assert.equal(rules, tunnel);
  });

  it('reads what the report is like', () => {
    const { json, quiet, offline, probes, logLevel } = build({ ...REMOTE, probe: '5', json: '' });
    assert.deepEqual([json, quiet, offline, probes, logLevel], [true, false, false, 5, 'error']);
    assert.equal(build({ ...REMOTE, offline: '' }).offline, true);
    assert.equal(build({ ...REMOTE }).probes, 1);
  });

  it('refuses options that need a jump host, where none is given', () => {
    refused({ dns: '' }, /^--dns is given, but no jump host$/);
    refused({ listen: ['1080'] }, /^--listen is given, but no jump host$/);
    refused({ probe: '3' }, /^--probe tries addresses through the jump host$/);
    refused({ ...REMOTE, probe: '3', offline: '' }, /--probe/);
    refused({ identity: ['key'] }, /jump host|-r/);
  });

  it('refuses a number of addresses that it will not try', () => {
    for (const probe of ['0', '17', '-1', '1.5', 'x', ''])
      refused({ ...REMOTE, probe }, /is not a number from 1 to 16/);
  });
});
