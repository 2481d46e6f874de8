/** The TCP endpoint against Linux's own TCP, over a device that loses and reorders frames. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { labUnavailable } from '../support/lab.ts';
import { run } from '../support/process.ts';

const CHECK = fileURLToPath(new URL('../support/tcplinux.js', import.meta.url));
const LONG = process.env['TUNNEL_LONG'] === '1';
/** In each direction. */
const FLOWS = LONG ? 200 : 50;
const FLOW_BYTES = LONG ? 50_000_000 : 2_000_000;
const SEED = 13;

const skip = labUnavailable('unshare');

test(`${FLOWS} flows of ${FLOW_BYTES} bytes each way over a bad device`, {
  skip,
  timeout: LONG ? 1_800_000 : 90_000,
}, async (t) => {
  const { status, stdout, stderr } = await run(
    [
      'unshare',
      '--net',
      '--mount',
      process.execPath,
      CHECK,
      String(FLOWS),
      String(FLOW_BYTES),
      String(SEED),
    ],
    { timeout: LONG ? 1_790_000 : 85_000 },
  );
  t.diagnostic(stdout.trim());
  assert.equal(status, 0, stdout + stderr);
});
