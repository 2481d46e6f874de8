/** A start with too few descriptors, whichever step it is that lacks one. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { Child } from '../support/process.ts';
import { MAIN } from '../support/tunnel.ts';

/** What users run: the program in one file, which needs few descriptors to be loaded. */
const built = MAIN.endsWith('.cjs') ? false : 'the bundle is not built (npm run build:ts)';
/** Node itself needs some 17, and the program some 30. */
const MOST = 80;
const ENOUGH_TOLD = 3;

describe('a start with few descriptors', { skip: sshdMissing || built }, () => {
  let sshd: LoopbackSshd;
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-limits-'));
  before(async () => {
    sshd = await LoopbackSshd.start({ config: ['MaxSessions 0'] });
  });
  after(async () => {
    await sshd.stop();
    rmSync(directory, { recursive: true });
  });

  it('succeeds, or says which limit is reached and how to raise it', async () => {
    const { user, port } = sshd;
    const key = join(sshd.directory, 'user_key');
    const known = (await sshd.knownHostsLine()).trim();
    const ssh = ['-F', 'none', '-i', key, '--host-key', known];
    const run = ['proxy', '-r', `${user}@127.0.0.1:${port}`, ...ssh, '--listen', '127.0.0.1:0'];
    let told = 0;
    for (let descriptors = 12; descriptors <= MOST; descriptors++) {
      const limited = ['sh', '-c', `ulimit -n ${descriptors} && exec "$@"`, 'sh'];
      const child = await Child.start([...limited, process.execPath, MAIN, ...run], {
        env: { PATH: process.env['PATH'] ?? '', HOME: directory, RUNTIME_DIRECTORY: directory },
      });
      await Promise.race([
        child.waitForLine(/tunnel: ready\n/, 30_000).catch(() => {}),
        child.wait(30_000),
      ]);
      const { stderr, ended } = child;
      if (ended === undefined) {
        assert.match(stderr, /^tunnel: ready$/m);
        await child.stop('SIGTERM');
        assert.ok(told >= ENOUGH_TOLD, `only ${told} starts have lacked one`);
        return;
      }
      // Node itself has not come so far.
      if (!stderr.includes('tunnel: ')) continue;
      told++;
      assert.match(stderr, /^tunnel: error \[system-limit\]: .*open any more files/m);
      assert.match(stderr, /^tunnel: hint: raise the limit: "ulimit -n/m);
    }
    assert.fail(`${MOST} are not enough`);
  });
});
