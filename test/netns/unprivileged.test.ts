/** The whole program as an ordinary user, with sudo for the helper. */
import assert from 'node:assert/strict';
import { chownSync, cpSync, mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { HELPER_PATH } from '../../src/native/addon.ts';
import { API1, JUMPHOST4, Port, PRIVATE4, PRIVATE6 } from '../support/addresses.ts';
import { SUDOERS, UID, USER, withEtc } from '../support/etc.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { processEntry } from '../support/processtable.ts';
import { closedToOthers } from '../support/requirements.ts';
import { type Attempt, dial, MAIN, REMOTE } from '../support/tunnel.ts';

describe('as an ordinary user', {
  skip: labUnavailable('sudo', 'unshare', 'openssl') || closedToOthers(MAIN),
}, () => {
  let lab: Lab;
  let home: string;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
    home = mkdtempSync(join(lab.directory, 'user-'));
    cpSync(lab.clientHome, home, { recursive: true });
    for (const path of ['', ...readdirSync(home, { recursive: true, encoding: 'utf8' })])
      chownSync(join(home, path), UID, UID);
  });
  after(async () => {
    await lab?.close();
  });

  it('speaks SSH as the user, captures for the whole machine, and leaves nothing', async () => {
    assert.ok(statSync(HELPER_PATH).mode & 0o001, 'the helper is executable');
    const before = await lab.client.hostState();
    const inside = withEtc(
      lab.directory,
      { sudoers: `${SUDOERS}Defaults use_pty\n${USER} ALL=(root) NOPASSWD: ${HELPER_PATH}\n` },
      home,
    );
    const user = ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--'];
    const tunnel = await lab.client.spawn(
      inside([
        ...user,
        process.execPath,
        MAIN,
        '-r',
        REMOTE,
        PRIVATE4,
        PRIVATE6,
        '198.51.100.0/24',
      ]),
      { env: { HOME: home, XDG_RUNTIME_DIR: '' } },
    );
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      assert.match(
        readFileSync(`/proc/${tunnel.pid}/status`, 'utf8'),
        new RegExp(`^Uid:\\s${UID}\\s${UID}\\s${UID}\\s${UID}$`, 'm'),
      );
      assert.match(readFileSync(`/proc/${tunnel.pid}/status`, 'utf8'), /^CapEff:\s0+$/m);
      const [attempt] = await dial<Attempt[]>(lab.client, 'connect', API1, Port.http);
      assert.equal(attempt?.outcome, 'open');
      const { stdout } = await lab.client.exec(['ip', 'route', 'get', JUMPHOST4]);
      assert.match(stdout, / dev tun/, 'the jump host is captured, and the SSH connection is not');
      assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
    } finally {
      if (processEntry(tunnel.pid) !== undefined) await tunnel.stop('SIGKILL');
    }
    assert.equal(await lab.client.hostState(), before);
  });
});
