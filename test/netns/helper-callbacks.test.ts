/**
 * When one of the program's callbacks throws in a call from the addon, that is an uncaught
 * exception: it is never dropped.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TESTED_HELPER } from '../support/helperlab.ts';
import { run, SEARCH_PATH } from '../support/process.ts';
import { labUnavailable } from '../support/requirements.ts';

const NATIVE_MODULE = new URL('../../src/native/addon.js', import.meta.url).href;
const LIMIT_MS = 10_000;

/**
 * Runs `script` as a module in which `native` is the addon; at the end it prints what happened to
 * the exception.
 */
async function outcome(script: string): Promise<string> {
  const text = `import { addon } from ${JSON.stringify(NATIVE_MODULE)};
    import { spawn } from 'node:child_process';
    import { mkdtempSync, rmSync } from 'node:fs';
    const native = addon();
    process.on('uncaughtException', (error) => { console.log('uncaught', error.message); process.exit(0); });
    setTimeout(() => { console.log('dropped'); process.exit(1); }, ${LIMIT_MS / 2});
    ${script}`;
  const argv = [process.execPath, '--input-type=module', '-e', text];
  const { stdout } = await run(argv, { env: { PATH: SEARCH_PATH }, timeout: LIMIT_MS });
  return stdout;
}

describe('callbacks that throw', () => {
  it('onReadable of a device', async () => {
    // One end of a socket pair stands in for the device.
    // Held, as the program holds them: what is collected calls nobody.
    const output = await outcome(`const { link, fd } = native.linkPair(() => {});
      globalThis.held = [link, native.deviceOpen(fd, new Uint8Array(2048), () => { throw new Error('in onReadable'); })];
      native.linkSend(link, new Uint8Array(1));`);
    assert.equal(output, 'uncaught in onReadable\n');
  });

  it('onMessage of a link', { skip: labUnavailable() }, async () => {
    const output = await outcome(`const directory = mkdtempSync('/tmp/tunnel-test-');
      globalThis.held = native.linkListen(directory + '/helper', () => {
        rmSync(directory, { recursive: true });
        throw new Error('in onMessage');
      });
      spawn(${JSON.stringify(TESTED_HELPER)}, [directory + '/helper'], { stdio: 'ignore', env: {} });`);
    assert.equal(output, 'uncaught in onMessage\n');
  });
});
