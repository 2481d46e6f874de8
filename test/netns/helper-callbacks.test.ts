/** What the program's callbacks throw when the addon calls them is an uncaught exception: it is never dropped. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TESTED_HELPER } from '../support/helperlab.ts';
import { run, SEARCH_PATH } from '../support/process.ts';
import { labUnavailable } from '../support/requirements.ts';

const NATIVE_MODULE = new URL('../../src/native.js', import.meta.url).href;
const LIMIT_MS = 10_000;

/** Runs `script` as a module in which `native` is the addon; it ends with what became of the exception. */
async function outcome(script: string): Promise<string> {
  const text = `import { addon } from ${JSON.stringify(NATIVE_MODULE)};
    import { spawn } from 'node:child_process';
    import { mkdtempSync, openSync, rmSync } from 'node:fs';
    const native = addon();
    process.on('uncaughtException', (error) => { console.log('uncaught', error.message); process.exit(0); });
    setTimeout(() => { console.log('dropped'); process.exit(1); }, ${LIMIT_MS / 2});
    ${script}`;
  const argv = [process.execPath, '--input-type=module', '-e', text];
  const { stdout } = await run(argv, { env: { PATH: SEARCH_PATH }, timeout: LIMIT_MS });
  return stdout;
}

describe('callbacks that throw', () => {
  it('onEvents of an engine', async () => {
    // What reads as an error at once stands for a device that is taken away.
    const said = await outcome(`const fd = openSync('/', 'r'); const four = new Uint8Array(4);
      const six = new Uint8Array(16);
      native.engineStart({ fd, listen4: four, peer4: four, listenPort4: 0, listen6: six, peer6: six, listenPort6: 0,
          datagrams: false },
        () => { throw new Error('in onEvents'); });`);
    assert.equal(said, 'uncaught in onEvents\n');
  });

  it('onMessage of a link', { skip: labUnavailable() }, async () => {
    const said = await outcome(`const directory = mkdtempSync('/tmp/tunnel-test-');
      native.linkListen(directory + '/helper', () => {
        rmSync(directory, { recursive: true });
        throw new Error('in onMessage');
      });
      spawn(${JSON.stringify(TESTED_HELPER)}, [directory + '/helper'], { stdio: 'ignore', env: {} });`);
    assert.equal(said, 'uncaught in onMessage\n');
  });
});
