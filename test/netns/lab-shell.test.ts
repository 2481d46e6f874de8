/** `scripts/lab shell`: what runs in it doesn't share this machine's /run/tunnel. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { labUnavailable } from '../support/lab.ts';
import { Child, run } from '../support/process.ts';

const LAB = fileURLToPath(new URL('../support/labcli.js', import.meta.url));
const LIMIT_MS = 60_000;

describe('scripts/lab shell', { skip: labUnavailable() }, () => {
  let lab: Child;
  before(async () => {
    lab = await Child.start([process.execPath, LAB, 'up', '--foreground']);
    await lab.waitForLine(/running until Ctrl-C/, LIMIT_MS);
  });
  after(() => lab?.stop('SIGTERM', LIMIT_MS));

  const shell = (script: string) =>
    run([process.execPath, LAB, 'shell', 'client', '--', 'sh', '-c', script], {
      timeout: LIMIT_MS,
    });

  it('has a /run/tunnel of the lab, which its other shells see', async () => {
    const mark = `/run/tunnel/mark-${process.pid}`;
    const made = await shell(`touch ${mark}`);
    assert.equal(made.status, 0, made.stderr);
    assert.ok(!existsSync(mark));
    assert.equal((await shell(`rm ${mark}`)).status, 0);
  });
});
