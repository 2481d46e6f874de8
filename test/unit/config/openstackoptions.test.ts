import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildExecConfiguration } from '../../../src/config/execoptions.ts';
import { readOpenStackOptions } from '../../../src/config/openstackoptions.ts';
import { buildOpenStackConfiguration } from '../../../src/config/openstackreport.ts';
import { buildConfiguration } from '../../../src/config/options.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { given, givenOptions, type OptionTexts } from '../../support/options.ts';

function wrong(act: () => unknown, message: RegExp): void {
  assert.throws(
    act,
    (error) => error instanceof UsageError && message.test(`${error.message} ${error.hint}`),
  );
}

const R = { remote: ['u@h'] };

describe('options that name a cloud', () => {
  it('are none where none is given', () => {
    assert.equal(readOpenStackOptions(givenOptions({})), undefined);
  });

  it('have defaults', () => {
    const expected = { cloud: 'one', region: undefined, catalog: 'auto', followLinks: false };
    assert.deepEqual(readOpenStackOptions(givenOptions({ osCloud: 'one' })), expected);
  });

  it('belong to a cloud', () => {
    wrong(
      () => readOpenStackOptions(givenOptions({ osRegion: 'A' })),
      /--os-region belongs to a cloud.*--os-cloud/,
    );
    wrong(() => readOpenStackOptions(givenOptions({ osCatalog: 'off' })), /--os-catalog belongs/);
    wrong(
      () => readOpenStackOptions(givenOptions({ osFollowLinks: true })),
      /--os-follow-links belongs/,
    );
    wrong(
      () => readOpenStackOptions(givenOptions({ osCatalogFile: 'c.json' })),
      /--os-catalog-file belongs/,
    );
  });

  it('ask nobody at the start with --on-demand', () => {
    const use = (options: OptionTexts, command: 'connect' | 'doctor' = 'connect') =>
      buildConfiguration(given({ ...R, osCloud: 'one', ...options }), command).cloud?.catalog;
    assert.equal(use({ onDemand: true }), 'cached');
    assert.equal(use({ onDemand: true }, 'doctor'), 'auto');
    assert.equal(use({}), 'auto');
    assert.equal(use({ onDemand: true, osCatalog: 'off' }), 'off');
    assert.deepEqual(use({ onDemand: true, osCatalogFile: 'c' }), { file: 'c' });
    wrong(
      () => use({ onDemand: true, osCatalog: 'refresh' }),
      /--os-catalog refresh asks the cloud at the start.*--os-catalog off or --os-catalog-file/,
    );
  });

  it('have one catalog, and ask nobody where it is given', () => {
    const catalogOf = (options: OptionTexts) =>
      readOpenStackOptions(givenOptions({ osCloud: 'one', ...options }))?.catalog;
    assert.deepEqual(catalogOf({ osCatalogFile: '-' }), { file: '-' });
    wrong(
      () => catalogOf({ osCatalogFile: 'c.json', osCatalog: 'refresh' }),
      /--os-catalog-file is given with --os-catalog.*leave --os-catalog out/,
    );
    wrong(
      () => catalogOf({ osCatalogFile: 'c.json', osFollowLinks: true }),
      /--os-follow-links asks.*with --os-catalog-file nobody is asked/,
    );
    wrong(
      () => catalogOf({ osCatalog: 'off', osFollowLinks: true }),
      /--os-follow-links asks.*with --os-catalog off nobody is asked/,
    );
    wrong(
      () => catalogOf({ osCatalogFile: '' }),
      /--os-catalog-file: the name of the file is empty/,
    );
  });

  it('are checked', () => {
    wrong(
      () => readOpenStackOptions(givenOptions({ osCloud: '' })),
      /--os-cloud: the name is empty/,
    );
    wrong(
      () => readOpenStackOptions(givenOptions({ osCloud: 'one', osCatalog: 'on' })),
      /"on" is none of auto, refresh, off/,
    );
  });
});

describe('a cloud as a target', () => {
  it('is one, for connect and for a proxy that carries only targets', () => {
    const { cloud, targets } = buildConfiguration(given({ ...R, osCloud: 'one', osRegion: 'A' }));
    assert.deepEqual(cloud, { cloud: 'one', region: 'A', catalog: 'auto', followLinks: false });
    assert.deepEqual(targets, []);
    const only = given({ ...R, osCloud: 'one', onlyTargets: true });
    assert.equal(buildConfiguration(only, 'proxy').cloud?.cloud, 'one');
  });

  it('is the only one of exec, where no other is given', () => {
    const command = ['true'];
    const targetsOf = (targets: readonly string[], options: OptionTexts) =>
      buildExecConfiguration(given({ ...R, ...options }, targets), command).tunnel.targets.map(
        ({ text }) => text,
      );
    assert.deepEqual(targetsOf([], { osCloud: 'one' }), []);
    assert.deepEqual(targetsOf(['10/8'], { osCloud: 'one' }), ['10/8']);
    assert.deepEqual(targetsOf([], {}), ['0.0.0.0/0', '::/0']);
  });

  it('is none because a variable of the environment names it', () => {
    process.env['OS_CLOUD'] = 'one';
    try {
      assert.equal(buildConfiguration(given(R, ['10/8'])).cloud, undefined);
      wrong(() => buildConfiguration(given(R)), /no target is given.*--os-cloud/);
    } finally {
      delete process.env['OS_CLOUD'];
    }
  });
});

describe('tunnel openstack', () => {
  it('needs a jump host and no cloud', () => {
    const { openstack, format, ssh } = buildOpenStackConfiguration(given(R));
    assert.deepEqual(openstack, {
      cloud: undefined,
      region: undefined,
      catalog: 'auto',
      followLinks: false,
    });
    assert.equal(format, 'table');
    assert.equal(ssh.remotes[0].host, 'h');
    const named = buildOpenStackConfiguration(given({ ...R, osRegion: 'A' }));
    assert.equal(named.openstack.region, 'A');
    wrong(() => buildOpenStackConfiguration(given({})), /no jump host/);
    wrong(
      () => buildOpenStackConfiguration(given({ remote: ['h'], format: 'xml' })),
      /--format: "xml" is none of table/,
    );
  });
});
