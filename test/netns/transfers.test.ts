/** Bytes through the tunnel arrive unchanged, in both directions, over many flows at once. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { API1, API1_6, Port, PRIVATE4, PRIVATE6 } from '../support/addresses.ts';
import { pseudoRandomBytes, pseudoRandomDigest } from '../support/bytes.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { dial, startTunnel } from '../support/tunnel.ts';

const SIZE = 20_000_000;

describe('transfers', { skip: labUnavailable() }, () => {
  let lab: Lab;
  let tunnel: Child;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
    tunnel = await startTunnel(lab.client, [PRIVATE4, PRIVATE6]);
  });
  after(async () => {
    await tunnel?.stop('SIGINT');
    await lab?.close();
  });

  for (const host of [API1, `[${API1_6}]`]) {
    it(`download and upload with the right sha256, ${host}`, async () => {
      const url = `http://${host}/bytes/${SIZE}?seed=down`;
      const download = await lab.client.exec(['sh', '-c', `curl -gsS '${url}' | sha256sum`]);
      assert.equal(download.stdout.split(' ')[0], pseudoRandomDigest(SIZE, 'down'));

      const upload = await lab.client.exec(
        ['curl', '-gsS', '--data-binary', '@-', `http://${host}/sha256`],
        {
          input: pseudoRandomBytes(SIZE, 'up'),
        },
      );
      assert.deepEqual(JSON.parse(upload.stdout), {
        sha256: pseudoRandomDigest(SIZE, 'up'),
        bytes: SIZE,
      });
    });
  }

  it('carry 200 flows of 5 MB each way at once, without cross-talk', async () => {
    const result = await dial(lab.client, 'echo', API1, Port.echo, 200, 5_000_000);
    assert.deepEqual(result, { flows: 200, wrong: 0 });
  });

  it('put only the SSH connection on the uplink', async () => {
    const uplink = await lab.uplink.capture('any', 'net 10.77.0.0/16 or net 198.18.0.0/15');
    await lab.client.exec(['curl', '-sS', `http://${API1}/bytes/100000`]);
    assert.deepEqual(await uplink.stop(), []);
  });
});
