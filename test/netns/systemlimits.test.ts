/** A start that captures with too few descriptors, whichever step it is that lacks one. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PRIVATE4 } from '../support/addresses.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

/** What users run: the program in one file, which needs few descriptors to be loaded. */
const built = MAIN.endsWith('.cjs') ? false : 'the bundle is not built (npm run build:ts)';
/** Node itself needs some 17, and the program some 30. */
const LEAST = 18;
const MOST = 80;
const ENOUGH_TOLD = 3;

describe('a start that captures, with few descriptors', { skip: labUnavailable() || built }, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
  });
  after(() => lab?.close());

  it('succeeds, or says which limit is reached, how to raise it, and leaves nothing', async () => {
    const untouched = await lab.client.hostState();
    let told = 0;
    for (let descriptors = LEAST; descriptors <= MOST; descriptors++) {
      const limited = ['setsid', 'sh', '-c', `ulimit -n ${descriptors} && exec "$@"`, 'sh'];
      const argv = [...limited, process.execPath, MAIN, '-r', REMOTE, PRIVATE4];
      const tunnel = await lab.client.spawn(argv);
      await tunnel.waitForLine(/tunnel: (ready|hint: .*)\n/, 20_000).catch(() => {}); // see below
      const { stderr } = tunnel;
      if (stderr.includes('tunnel: ready')) {
        await tunnel.stop('SIGTERM');
        assert.ok(told >= ENOUGH_TOLD, `only ${told} starts have lacked one`);
        return;
      }
      const { status } = await tunnel.wait(20_000);
      if (!stderr.includes('tunnel: ')) continue; // Node itself has not come so far
      told++;
      assert.match(stderr, /^tunnel: error \[system-limit\]: .*open any more files/m);
      assert.match(stderr, /^tunnel: hint: raise the limit: "ulimit -n/m);
      assert.equal(status, 1);
      assert.equal(await lab.client.hostState(), untouched);
    }
    assert.fail(`${MOST} are not enough`);
  });
});
