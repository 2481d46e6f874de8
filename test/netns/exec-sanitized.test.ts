/** Runs the tests of exec again, with a build of the launcher under AddressSanitizer and UBSan. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run, SEARCH_PATH } from '../support/process.ts';
import { closedToOthers, labUnavailable, sanitizedMissing } from '../support/requirements.ts';
import { MAIN } from '../support/tunnel.ts';

const LAUNCHER = fileURLToPath(new URL('../../native-test/tunnel-launcher', import.meta.url));
const TIMEOUT_MS = 120_000;

describe('launcher under sanitizers', {
  skip: labUnavailable('openssl', 'unshare') || sanitizedMissing(LAUNCHER) || closedToOthers(MAIN),
}, () => {
  for (const [file, pattern] of [
    ['exec-launcher', '.'],
    ['exec-status', 'is 12[567]|fails with 7'],
    ['exec-users', 'sudo|doas'],
  ] as const) {
    it(`passes ${file}.test (${pattern})`, async () => {
      const test = fileURLToPath(new URL(`./${file}.test.js`, import.meta.url));
      // Leaves out the variable by which the outer test runner marks its children: this is a
      // separate run.
      const { status, stdout } = await run(
        [process.execPath, '--test', `--test-name-pattern=${pattern}`, test],
        {
          env: { PATH: SEARCH_PATH, LANG: 'C', TUNNEL_TEST_LAUNCHER: LAUNCHER },
          timeout: TIMEOUT_MS,
        },
      );
      assert.equal(status, 0, stdout);
      assert.match(stdout, /^# pass [1-9]/m);
    });
  }
});
