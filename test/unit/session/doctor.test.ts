/** Where `tunnel doctor --offline` finds the jump host, as `connect` would. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { buildDoctorConfiguration } from '../../../src/config/doctoroptions.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import { diagnose } from '../../../src/session/doctor.ts';
import { nobody } from '../../../src/ssh/prompter.ts';
import type { Finding } from '../../../src/system/doctor/diagnosis.ts';
import { given, type OptionTexts } from '../../support/options.ts';

const CONFIG = `
Host inner
  HostName 192.0.2.7
Host behind
  HostName inner.invalid
  ProxyJump u@inner
Host command
  HostName command.invalid
  ProxyCommand nc %h %p
Host wrong
  ProxyJump wrong
`;

describe('doctor', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'doctor-'));
    writeFileSync(join(directory, 'config'), CONFIG);
  });
  after(() => rmSync(directory, { recursive: true }));

  async function look(remote: string, options: OptionTexts = {}): Promise<Finding> {
    const sshConfig = join(directory, 'config');
    const configuration = buildDoctorConfiguration(
      given({ remote: [remote], sshConfig, offline: '', ...options }),
    );
    const { findings } = await diagnose(configuration, {
      observer: silentObserver,
      prompter: nobody('nobody is asked here'),
      stop: new AbortController().signal,
    });
    const [first] = findings;
    assert.ok(first !== undefined);
    return first;
  }

  for (const [remote, detail] of [
    ['u@192.0.2.1', 'u@192.0.2.1, port 22'],
    ['u@inner', 'u@inner: 192.0.2.7, port 22'],
    ['u@behind', 'u@behind: by way of inner (192.0.2.7), port 22'],
    ['u@command', 'u@command: by a ProxyCommand'],
  ] as const) {
    it(`finds ${remote}`, async () => {
      assert.deepEqual(await look(remote), { name: 'jump-host', state: 'ok', detail });
    });
  }

  it('goes by -o, -J, -F and -p', async () => {
    const other = await look('u@inner', { sshOption: ['HostName=192.0.2.8'] });
    assert.match(other.detail, /: 192\.0\.2\.8, port 22$/);
    assert.match((await look('u@behind', { jump: '192.0.2.9' })).detail, /by way of 192\.0\.2\.9,/);
    assert.equal((await look('u@inner.invalid', { sshConfig: 'none' })).state, 'failed');
    const port = await look('u@inner', { port: '2222' });
    assert.match(port.detail, /: 192\.0\.2\.7, port 2222$/);
  });

  it('goes by -i, as connect does', async () => {
    const { name, state, detail, hint } = await look('inner', { identity: ['/no/such/key'] });
    assert.equal(name, 'authentication');
    assert.equal(state, 'failed');
    assert.match(detail, /\/no\/such\/key can't be read: there is no such file/);
    assert.match(hint ?? '', /-i/);
  });

  it('reports a configuration that is wrong', async () => {
    const { state, detail } = await look('wrong');
    assert.equal(state, 'failed');
    assert.match(detail, /itself|loop|through/i);
  });
});
