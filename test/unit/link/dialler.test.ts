import assert from 'node:assert/strict';
import { it } from 'node:test';
import { withPatience } from '../../../src/link/dialler.ts';
import { hopsOf } from '../../../src/ssh/hops.ts';
import { testSettings } from '../../support/settings.ts';

it('patience applies to all hops, including the first, which is the one dialled, and keeps the authentication settings', () => {
  const hops = ['a', 'b'].map((name) => ({
    ...testSettings({ hostName: name, port: 22 }),
    connectTimeout: 10,
  }));
  const settings = {
    ...testSettings({ hostName: 'c', port: 22 }),
    connectTimeout: 20,
    proxy: { kind: 'jump', hops },
  } as const;
  const { jumpHosts } = withPatience(
    { jumpHosts: [{ settings, addresses: [] }], own: [], servers: [], names: [] },
    (limit) => limit / 2,
  );
  const [jumpHost] = jumpHosts;
  assert.ok(jumpHost !== undefined);
  assert.deepEqual(
    hopsOf(jumpHost.settings).map(({ connectTimeout }) => connectTimeout),
    [5, 5, 10],
  );
  for (const [i, { authentication }] of hopsOf(jumpHost.settings).entries())
    assert.equal(
      authentication,
      hopsOf(settings)[i]?.authentication,
      'by which its Access is kept',
    );
});
