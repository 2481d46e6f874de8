/**
 * SSH servers other than OpenSSH, idle: a connection that has carried nothing for half a minute
 * works, and so does a new one. With TUNNEL_LONG=1 it is five minutes.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { API1, Port } from '../support/addresses.ts';
import { labUnavailable } from '../support/lab.ts';
import { ServerLab } from '../support/serverlab.ts';
import { JUMP_SERVERS } from '../support/sshservers.ts';

const SECONDS = process.env['TUNNEL_LONG'] === '1' ? 300 : 25;
const FORWARDING = JUMP_SERVERS.filter(({ halfCloses }) => halfCloses !== undefined);

describe('other SSH servers, idle', {
  skip: labUnavailable(),
  timeout: (SECONDS + 120) * 1000,
  concurrency: true,
}, () => {
  let lab: ServerLab;
  before(async () => {
    lab = await ServerLab.create(JUMP_SERVERS);
  });
  after(() => lab?.close());

  for (const kind of FORWARDING)
    it(`${kind.name}, after ${SECONDS} s`, { skip: kind.missing() }, async () => {
      const server = await lab.start(kind);
      const way = await lab.proxy(server);
      const timeout = (SECONDS + 60) * 1000;
      const idle = await lab.carry(way, ['idle', API1, SECONDS], [], timeout);
      assert.deepEqual(idle, { same: true });
      assert.deepEqual(await lab.carry(way, ['opens', API1, Port.echo]), ['open']);
    });
});
