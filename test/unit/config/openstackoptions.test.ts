import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildExecConfiguration } from '../../../src/config/execoptions.ts';
import { readOpenStackOptions } from '../../../src/config/openstackoptions.ts';
import { buildOpenStackConfiguration } from '../../../src/config/openstackreport.ts';
import { buildConfiguration, type ConnectOptions } from '../../../src/config/options.ts';
import { UsageError } from '../../../src/errors/errors.ts';

function wrong(act: () => unknown, message: RegExp): void {
  assert.throws(
    act,
    (error) => error instanceof UsageError && message.test(`${error.message} ${error.hint}`),
  );
}

const R = { remote: ['u@h'] };

describe('options that name a cloud', () => {
  it('are none where none is given', () => {
    assert.equal(readOpenStackOptions({}), undefined);
  });

  it('have defaults', () => {
    const expected = { cloud: 'one', region: undefined, catalog: 'auto', followLinks: false };
    assert.deepEqual(readOpenStackOptions({ osCloud: 'one' }), expected);
  });

  it('belong to a cloud', () => {
    wrong(
      () => readOpenStackOptions({ osRegion: 'A' }),
      /--os-region belongs to a cloud.*--os-cloud/,
    );
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

describe('a cloud as a target', () => {
  it('is one, for connect and for a proxy that carries only targets', () => {
    const { cloud, targets } = buildConfiguration([], { ...R, osCloud: 'one', osRegion: 'A' });
    assert.deepEqual(cloud, { cloud: 'one', region: 'A', catalog: 'auto', followLinks: false });
    assert.deepEqual(targets, []);
    const only = { ...R, osCloud: 'one', onlyTargets: true };
    assert.equal(buildConfiguration([], only, undefined, 'proxy').cloud?.cloud, 'one');
  });

  it('is the only one of exec, where no other is given', () => {
    const command = ['true'];
    const targetsOf = (targets: readonly string[], options: ConnectOptions) =>
      buildExecConfiguration(targets, command, { ...R, ...options }).tunnel.targets.map(
        ({ text }) => text,
      );
    assert.deepEqual(targetsOf([], { osCloud: 'one' }), []);
    assert.deepEqual(targetsOf(['10/8'], { osCloud: 'one' }), ['10/8']);
    assert.deepEqual(targetsOf([], {}), ['0.0.0.0/0', '::/0']);
  });

  it('is none because a variable of the environment names it', () => {
    process.env['OS_CLOUD'] = 'one';
    try {
      assert.equal(buildConfiguration(['10/8'], R).cloud, undefined);
      wrong(() => buildConfiguration([], R), /no target is given.*--os-cloud/);
    } finally {
      delete process.env['OS_CLOUD'];
    }
  });
});

describe('tunnel openstack', () => {
  it('needs a jump host and no cloud', () => {
    const { openstack, format, tunnel } = buildOpenStackConfiguration({ remote: ['u@h'] });
    assert.deepEqual(openstack, {
      cloud: undefined,
      region: undefined,
      catalog: 'auto',
      followLinks: false,
    });
    assert.equal(format, 'table');
    assert.equal(tunnel.ssh.remotes[0].host, 'h');
    assert.equal(tunnel.cloud, undefined);
    const named = buildOpenStackConfiguration({ ...R, osRegion: 'A' });
    assert.deepEqual([named.openstack.region, named.tunnel.cloud], ['A', undefined]);
    wrong(() => buildOpenStackConfiguration({}), /no jump host/);
    wrong(
      () => buildOpenStackConfiguration({ remote: ['h'], format: 'xml' }),
      /--format: "xml" is none of table/,
    );
  });
});
