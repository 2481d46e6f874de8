/** The helper's tests once more, with a build of it under AddressSanitizer and UBSan. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run, SEARCH_PATH } from '../support/process.ts';
import { labUnavailable, sanitizedMissing } from '../support/requirements.ts';

const HELPER = fileURLToPath(new URL('../../native-test/tunnel-helper', import.meta.url));
const TIMEOUT_MS = 120_000;

/**
 * What a sanitizer reports goes to /dev/null with the rest of the helper's output; but it ends the
 * helper, which its tests then find.
 */
describe('helper under sanitizers', { skip: labUnavailable() || sanitizedMissing(HELPER) }, () => {
  for (const file of ['helper', 'helper-lost', 'helper-protocol', 'helper-privileges']) {
    it(`passes ${file}.test`, async () => {
      const test = fileURLToPath(new URL(`./${file}.test.js`, import.meta.url));
      // The variable by which the outer test runner knows its children is left out: this one is a
      // run of its own.
      const { status, stdout } = await run([process.execPath, '--test', test], {
        env: { PATH: SEARCH_PATH, LANG: 'C', TUNNEL_TEST_HELPER: HELPER },
        timeout: TIMEOUT_MS,
      });
      assert.equal(status, 0, stdout);
      assert.match(stdout, /^# pass [1-9]/m);
    });
  }
});
