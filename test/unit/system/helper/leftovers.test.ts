/** Which devices `tunnel clean` asks root to remove. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { markedDevices, removeLeftDevices } from '../../../../src/system/helper/leftovers.ts';

const ALIVE = 'tunnel-helper 00000000000000aa';
const GONE = 'tunnel-helper 00000000000000bb';

describe('devices that were left behind', () => {
  let devices = '';
  let sockets = '';
  const sources = (root: boolean) => ({ devices, sockets, root });

  before(() => {
    devices = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    sockets = join(devices, '..', `${devices.split('/').at(-1)}-unix`);
    writeFileSync(
      sockets,
      `Num RefCount Protocol Flags Type St Inode Path\n0: 00000002 00000000 00010000 0005 01 12345 @${ALIVE}\n`,
    );
    for (const [name, alias, flags] of [
      ['eth0', '', undefined],
      ['office', 'to the office', undefined],
      ['tun0', ALIVE, '0x5001'],
      ['tun1', GONE, '0x5001'],
      ['tun2', ALIVE, '0x5801'],
      ['tun3', `${ALIVE}0`, '0x5801'],
    ] as const) {
      mkdirSync(join(devices, name));
      writeFileSync(join(devices, name, 'ifalias'), `${alias}\n`);
      if (flags !== undefined) writeFileSync(join(devices, name, 'tun_flags'), `${flags}\n`);
    }
  });

  after(() => {
    rmSync(devices, { recursive: true });
    rmSync(sockets);
  });

  it('are those whose helper is gone, and persistent ones', () => {
    assert.deepEqual(markedDevices(sources(false)).toSorted(), ['tun1', 'tun2']);
  });

  it('may be all marked ones, if root asks', () => {
    assert.deepEqual(markedDevices(sources(true)).toSorted(), ['tun0', 'tun1', 'tun2']);
  });

  it('are none where there is no /sys', () => {
    assert.deepEqual(markedDevices({ devices: '/nowhere', sockets: '/nowhere' }), []);
  });

  const elevated = (script: string) => () =>
    ({ via: 'sudo', interactive: false, command: 'sh', args: ['-c', script], env: {} }) as const;

  it('are reported by name', async () => {
    const report = (script: string) =>
      removeLeftDevices(silentObserver, sources(false), elevated(script));
    assert.deepEqual(await report('echo tun1'), {
      done: ['the device tun1 was removed, with its routes'],
      failed: [],
    });
    assert.deepEqual(await report('exit 1'), {
      done: [],
      failed: ['the devices tun1, tun2 could not be looked at: sudo ended with 1'],
    });
    const none = removeLeftDevices(silentObserver, { devices: '/nowhere' }, () => {
      throw new Error('asked for a password');
    });
    assert.deepEqual(await none, { done: [], failed: [] });
  });
});
