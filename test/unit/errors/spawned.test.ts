/** Child processes for which there were not enough descriptors. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { withStreams } from '../../../src/errors/spawned.ts';

const MODULE = new URL('../../../src/errors/spawned.js', import.meta.url).href;
/** Takes all descriptors but one, of which a pipe needs two. */
const SCRIPT = `
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { withStreams } from '${MODULE}';
const opened = [];
try { for (;;) opened.push(openSync('/dev/null')); } catch { /* EMFILE: none is left */ }
closeSync(opened.pop());
try { withStreams(spawn('true', { stdio: ['ignore', 'pipe', 'pipe'] })); console.log('started'); }
catch (error) { console.log(error.code); }
`;

describe('withStreams', () => {
  it('returns a child that has them, and one that is not there', async () => {
    const child = withStreams(spawn('echo', ['x'], { stdio: ['ignore', 'pipe', 'pipe'] }));
    assert.equal(String(await once(child.stdout, 'data')), 'x\n');
    const missing = withStreams(spawn('/nowhere/at/all', { stdio: ['ignore', 'pipe', 'pipe'] }));
    const [error] = await once(missing, 'error');
    assert.equal(error.code, 'ENOENT');
  });

  it('throws where a descriptor is lacking, and what Node reports later harms nothing', () => {
    const node = [process.execPath, '--input-type=module', '-e', SCRIPT];
    const { stdout, stderr, status } = spawnSync(
      'sh',
      ['-c', 'ulimit -n 60 && exec "$@"', 'sh', ...node],
      { encoding: 'utf8' },
    );
    assert.deepEqual({ stdout, status }, { stdout: 'EMFILE\n', status: 0 }, stderr);
  });
});
