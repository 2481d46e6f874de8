import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readOpenStackOptions } from '../../../src/config/openstackoptions.ts';
import { buildOpenStackConfiguration } from '../../../src/config/openstackreport.ts';
import { UsageError } from '../../../src/errors.ts';

function wrong(act: () => unknown, message: RegExp): void {
  assert.throws(
    act,
    (error) => error instanceof UsageError && message.test(`${error.message} ${error.hint}`),
  );
}

describe('options that name a cloud', () => {
  it('are none where none is given', () => {
    assert.equal(readOpenStackOptions({}), undefined);
  });

  it('have defaults', () => {
    const expected = { cloud: 'one', region: undefined, catalog: 'auto', followLinks: false };
    assert.deepEqual(readOpenStackOptions({ osCloud: 'one' }), expected);
  });

  it('belong to a cloud', () => {
    wrong(() => readOpenStackOptions({ osRegion: 'A' }), /--os-region belongs to a cloud.*--os-cloud/);
    wrong(() => readOpenStackOptions({ osCatalog: 'off' }), /--os-catalog belongs/);
    wrong(() => readOpenStackOptions({ osFollowLinks: true }), /--os-follow-links belongs/);
  });

  it('are checked', () => {
    wrong(() => readOpenStackOptions({ osCloud: '' }), /--os-cloud: the name is empty/);
    wrong(
      () => readOpenStackOptions({ osCloud: 'one', osCatalog: 'on' }),
      /"on" is none of auto, refresh, off/,
    );
  });
});

describe('tunnel openstack', () => {
  it('needs a jump host and no cloud', () => {
    const { openstack, format, tunnel } = buildOpenStackConfiguration({ remote: ['u@h'] });
    assert.deepEqual(openstack, { cloud: undefined, region: undefined, catalog: 'auto', followLinks: false });
    assert.equal(format, 'table');
    assert.equal(tunnel.ssh.remotes[0].host, 'h');
    wrong(() => buildOpenStackConfiguration({}), /no jump host/);
    wrong(
      () => buildOpenStackConfiguration({ remote: ['h'], format: 'xml' }),
      /--format: "xml" is none of table/,
    );
  });
});
