/** What is advised where helper and program are of two versions. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HELPER_PATH } from '../../../../src/native/addon.ts';
import { versionError } from '../../../../src/system/helper/errors.ts';
import { HELPER_SOCKET, HELPER_VERSION } from '../../../../src/system/helper/protocol.ts';

describe('a helper of another version', () => {
  const hintFor = (path: string) => versionError(path, HELPER_VERSION + 1).hint ?? '';

  it('is replaced where an administrator has installed it', () => {
    const installed = '/usr/local/libexec/tunnel-helper';
    assert.ok(hintFor(installed).includes(`${HELPER_PATH} ${installed}"`), hintFor(installed));
  });

  it('is left alone where it is the package’s, or the unit’s', () => {
    const packaged = hintFor('/usr/libexec/tunnel-helper');
    assert.match(packaged, /upgrade the package/);
    const unit = hintFor(`of the unit at ${HELPER_SOCKET}`);
    assert.match(unit, /"systemctl cat tunnel-helper@\.service"/);
    for (const hint of [packaged, unit]) assert.doesNotMatch(hint, /install -D/);
  });
});
