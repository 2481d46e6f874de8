/** Where `tunnel doctor` finds the jump host: what it is told, read as `connect` reads it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildDoctorConfiguration } from '../../../src/config/doctoroptions.ts';
import { lookAtRemote } from '../../../src/session/doctor.ts';
import { given, type OptionTexts } from '../../support/options.ts';
import { lab, NO_SSH } from '../../support/sshconfiglab.ts';

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
  async function look(remote: string, options: OptionTexts = {}) {
    const { ssh } = buildDoctorConfiguration(given({ remote: [remote], ...options }));
    assert.ok(ssh !== undefined);
    return lookAtRemote(ssh.remotes[0], ssh, { ...lab(CONFIG).context, sshProgram: NO_SSH });
  }

  for (const [remote, detail] of [
    ['u@192.0.2.1', 'u@192.0.2.1 is 192.0.2.1'],
    ['u@inner', 'u@inner is 192.0.2.7'],
    ['behind', 'behind is reached by way of inner, which is 192.0.2.7'],
    ['command', 'command is reached by a ProxyCommand'],
  ] as const) {
    it(`finds ${remote}`, async () => {
      assert.deepEqual(await look(remote), { name: 'jump-host', state: 'ok', detail });
    });
  }

  it('goes by -o, -J and -F', async () => {
    assert.match(
      (await look('inner', { sshOption: ['HostName=192.0.2.8'] })).detail,
      /is 192\.0\.2\.8$/,
    );
    assert.match((await look('behind', { jump: '192.0.2.9' })).detail, /by way of 192\.0\.2\.9,/);
    assert.equal((await look('inner.invalid', { sshConfig: 'none' })).state, 'failed');
  });

  it('goes by -p and -i, as connect does', async () => {
    assert.match((await look('inner', { port: '2222' })).detail, /is 192\.0\.2\.7, port 2222$/);
    const { state, detail, hint } = await look('inner', { identity: ['/no/such/key'] });
    assert.equal(state, 'failed');
    assert.match(detail, /\/no\/such\/key can't be read \(ENOENT\)/);
    assert.match(hint ?? '', /-i/);
  });

  it('reports a configuration that is wrong', async () => {
    const { state, detail } = await look('wrong');
    assert.equal(state, 'failed');
    assert.match(detail, /itself|loop|through/i);
  });

  it('looks for none where none is given', () => {
    assert.equal(buildDoctorConfiguration(given({}, ['10/8'])).ssh, undefined);
  });
});
