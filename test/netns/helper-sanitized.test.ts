/** Runs the helper's tests again, with a build under AddressSanitizer and UBSan. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run, SEARCH_PATH } from '../support/process.ts';
import { labUnavailable, sanitizedMissing } from '../support/requirements.ts';

const HELPER = fileURLToPath(new URL('../../native-test/tunnel-helper', import.meta.url));
const TIMEOUT_MS = 240_000;

/**
 * A sanitizer's report goes to /dev/null with the rest of the helper's output, but it also ends the
 * helper, which the tests notice.
 */
describe('helper under sanitizers', { skip: labUnavailable() || sanitizedMissing(HELPER) }, () => {
  for (const file of [
    'helper',
    'helper-lost',
    'helper-protocol',
    'helper-privileges',
    'helper-caller',
    'helper-permit',
    'helper-unreachable',
  ]) {
    it(`passes ${file}.test`, async () => {
      const test = fileURLToPath(new URL(`./${file}.test.js`, import.meta.url));
      // Leaves out the variable by which the outer test runner marks its children: this is a
      // separate run.
      const { status, stdout } = await run([process.execPath, '--test', test], {
        env: { PATH: SEARCH_PATH, LANG: 'C', TUNNEL_TEST_HELPER: HELPER },
        timeout: TIMEOUT_MS,
      });
      assert.equal(status, 0, stdout);
      assert.match(stdout, /^# pass [1-9]/m);
    });
  }
});
