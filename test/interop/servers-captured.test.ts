/**
 * SSH servers other than OpenSSH as jump hosts of `tunnel` and `tunnel exec`: refusals as the
 * application's connect() returns them, half-closes, many connections, and bytes both ways. What
 * is particular to a server is in servers.test.ts.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Refusal } from '../../src/net/refusal.ts';
import { API1, PRIVATE4 } from '../support/addresses.ts';
import { labUnavailable } from '../support/lab.ts';
import { ServerLab, saysSession } from '../support/serverlab.ts';
import { CASES, type Case, SERVER_WORDS } from '../support/serverwords.ts';
import { JUMP_SERVERS, type JumpServer, type SshServer } from '../support/sshservers.ts';
import { MAIN, startTunnel } from '../support/tunnel.ts';

const BYTES = 20_000_000;
const MANY = 200;
const SMALL = 2_000;
/** Those that are answered at once, within PRIVATE4. */
const AT_ONCE: readonly Case[] = ['closed', 'unreachable', 'denied'];
/** docs/usage.md: what an application gets over IPv4. Silence is not among AT_ONCE. */
const ERRNO: Readonly<Record<Refusal, string>> = {
  refused: 'ECONNREFUSED',
  unreachable: 'EHOSTUNREACH',
  'no-network': 'ENETUNREACH',
  prohibited: 'EHOSTUNREACH',
  timeout: 'ETIMEDOUT',
};

/** The same for both commands. `prefix`: what the client runs in. */
async function check(
  lab: ServerLab,
  kind: JumpServer,
  server: SshServer,
  prefix: readonly string[],
): Promise<void> {
  const carry = (...args: readonly (string | number)[]) => lab.carry('direct', args, prefix);
  const opens = await carry('opens', ...AT_ONCE.flatMap((name) => CASES[name]));
  const told = AT_ONCE.map((name) => {
    const words = SERVER_WORDS[kind.name]?.[name];
    return words === undefined ? 'open' : ERRNO[words.refusal];
  });
  assert.deepEqual(opens, told);
  if (kind.halfCloses === undefined) return;
  assert.deepEqual(await carry('halves', API1), kind.halfCloses);
  assert.deepEqual(await carry('many', API1, MANY, SMALL), { open: MANY, right: MANY });
  assert.deepEqual(await carry('bytes', API1, BYTES), { down: true, up: true });
  assert.ok(!saysSession(server), server.output);
}

describe('other SSH servers, captured', { skip: labUnavailable(), timeout: 400_000 }, () => {
  let lab: ServerLab;
  before(async () => {
    lab = await ServerLab.create(JUMP_SERVERS);
  });
  after(() => lab?.close());

  for (const kind of JUMP_SERVERS)
    describe(kind.name, { skip: kind.missing() }, () => {
      const transport = ['--transport', kind.lacksStrict ? 'openssh' : 'auto'];
      let server: SshServer;
      before(async () => {
        server = await lab.start(kind);
      });
      after(() => server?.kill());

      it('carries connect', async () => {
        const tunnel = await startTunnel(lab.lab.client, [...transport, PRIVATE4], server.remote);
        try {
          await check(lab, kind, server, []);
        } finally {
          await tunnel.stop('SIGINT');
        }
      });

      it('carries exec', () =>
        check(lab, kind, server, [
          ...[process.execPath, MAIN, 'exec', '-r', server.remote, ...transport, PRIVATE4, '--'],
        ]));
    });
});
