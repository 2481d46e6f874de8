import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe, it } from 'node:test';
import { lookAtProxies } from '../../../../src/system/doctor/proxies.ts';

describe('lookAtProxies', () => {
  it('says why an address can not be listened on', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    try {
      const [used] = await lookAtProxies([{ hosts: ['127.0.0.1'], port }]);
      assert.match(used?.hint ?? '', /another program/);
    } finally {
      other.close();
    }
    const [foreign] = await lookAtProxies([{ hosts: ['192.0.2.200'], port: 1080 }]);
    assert.equal(foreign?.state, 'failed');
    assert.match(foreign.hint ?? '', /does not have that address/);
  });

  it('says that low ports are for root', async () => {
    const [found] = await lookAtProxies([{ hosts: ['127.0.0.1'], port: 80 }], async () => 'EACCES');
    assert.equal(found?.state, 'failed');
    assert.match(found.hint ?? '', /only root .* name a higher one/);
  });

  it('leaves nothing listening', async () => {
    const [found] = await lookAtProxies([{ hosts: ['127.0.0.1'], port: 0 }]);
    assert.equal(found?.state, 'ok');
    assert.deepEqual(await lookAtProxies([]), []);
  });
});
