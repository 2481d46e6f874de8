/**
 * A host firewall forgets a half-closed connection long before its application does; the program's
 * probes of silent connections keep it in the firewall's table.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { API1, Port, PRIVATE4 } from '../support/addresses.ts';
import { INPUT_DROP, switchOff, switchOn } from '../support/firewall.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { startTunnel } from '../support/tunnel.ts';

/**
 * Seconds; the kernel's default for half-closed connections is 60, too long for a test.
 */
const FORGOTTEN_AFTER = 28;
const ANSWERED_AFTER = 33;

describe('connect behind a firewall that forgets', {
  skip: labUnavailable('nft', 'ncat'),
  timeout: 120_000,
}, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
  });
  after(async () => {
    await lab?.close();
  });

  it('brings an answer that comes after the firewall has forgotten other half-closed connections', async () => {
    await switchOn(lab, INPUT_DROP);
    const tunnel = await startTunnel(lab.client, [PRIVATE4]);
    try {
      const timeout = `net/netfilter/nf_conntrack_tcp_timeout_close_wait=${FORGOTTEN_AFTER}`;
      await lab.client.configure([], [timeout]);
      const { stdout, stderr } = await lab.client.exec(
        ['sh', '-c', `echo ${ANSWERED_AFTER}000 | ncat ${API1} ${Port.late}`],
        { timeout: (ANSWERED_AFTER + 20) * 1000 },
      );
      assert.equal(stdout, 'late\n', stderr);
    } finally {
      await tunnel.stop('SIGINT');
      await switchOff(lab);
    }
  });
});
