/** The privileged helper by systemd's socket activation, in place of sudo. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HELPER_EXIT_SETUP, HELPER_SOCKET } from '../../src/system/helper/protocol.ts';
import {
  CLIENT,
  type HelperNamespace,
  inNamespace,
  TESTED_HELPER,
  untilGone,
} from '../support/helperlab.ts';
import { asUser, etcOfUser, UID, userClient, userLabMissing } from '../support/helperuser.ts';
import { Child, run, SEARCH_PATH } from '../support/process.ts';
import { closedToOthers, labUnavailable } from '../support/requirements.ts';

const skip = userLabMissing || labUnavailable('systemd-socket-activate') || closedToOthers(CLIENT);
const UNITS = fileURLToPath(new URL('../../../packaging/systemd/', import.meta.url));

let directory = '';

before(() => {
  if (skip !== false) return;
  directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
  chmodSync(directory, 0o755);
});

after(() => {
  if (directory !== '') rmSync(directory, { recursive: true });
});

/** Listens as systemd does for the unit, and starts a helper for each connection. */
async function withUnit(
  namespace: HelperNamespace,
  body: (socket: string) => Promise<void>,
  wrap: (argv: readonly string[]) => readonly string[] = (argv) => argv,
): Promise<void> {
  const place = mkdtempSync(join(directory, 'run-'));
  chmodSync(place, 0o755);
  const socket = join(place, 'helper.sock');
  const activate = ['systemd-socket-activate', '--seqpacket', '--accept', '-l', socket];
  const listener = await Child.start(
    wrap([
      ...['ip', 'netns', 'exec', namespace.name],
      ...activate,
      ...[TESTED_HELPER, '--socket-unit'],
    ]),
    { env: { PATH: SEARCH_PATH, LANG: 'C' } },
  );
  try {
    await listener.waitForLine(/Listening on/);
    chmodSync(socket, 0o666);
    await body(socket);
  } finally {
    await listener.stop('SIGKILL');
  }
}

describe('helper: started by a socket unit', { skip }, () => {
  it('serves whoever connects, by what that user may capture', () =>
    inNamespace(
      [
        'link add eth0 type veth peer name eth0p',
        'link set eth0 up',
        'addr add 10.7.0.2/16 dev eth0',
      ],
      async (namespace) => {
        const before = await namespace.state();
        await withUnit(namespace, async (socket) => {
          const client = await userClient(namespace, etcOfUser(directory));
          const { pid } = (await client.must('start-unit', socket, '/nowhere')) as { pid: number };
          const device = await client.create();
          await client.must('routes', '10.0.0.0/8');
          const { code } = await client.fails('routes', '10.7.1.0/24');
          assert.equal(code, 'capture-not-permitted');
          assert.deepEqual((await namespace.routes(device.name)).slice(0, 1), ['10.0.0.0/8']);
          const status = readFileSync(`/proc/${pid}/status`, 'utf8');
          assert.match(status, /^Uid:\s0\s0\s0\s0$/m);
          assert.match(status, /^CapEff:\s0000000000001000$/m);
          assert.match(status, /^NoNewPrivs:\s1$/m);
          assert.notEqual((await run(asUser('kill', '-9', String(pid)))).status, 0);
          client.child.kill('SIGKILL');
          await untilGone(pid);
        });
        await namespace.becomes(before);
      },
    ));

  it('refuses nothing to root', () =>
    inNamespace([], async (namespace) => {
      await withUnit(namespace, async (socket) => {
        const client = await namespace.client();
        // Root doesn't ask the unit.
        await client.must('start-unit', socket, TESTED_HELPER);
        await client.create();
        await client.must('routes', '0.0.0.0/0');
      });
    }));

  it('is not asked where somebody else listens', () =>
    inNamespace([], async (namespace) => {
      const place = mkdtempSync(join(directory, 'false-'));
      chownSync(place, UID, UID);
      const socket = join(place, 'helper.sock');
      const listener = await userClient(namespace, etcOfUser(directory));
      await listener.must('listen', socket);
      const client = await userClient(namespace, etcOfUser(directory));
      await client.must('start-unit', socket, TESTED_HELPER);
      await client.child.waitForLine(/"info":"no helper from .*helper\.sock \(EPERM\)"/);
      await client.create();
    }));

  it('goes on with sudo where there is no unit, or it does not permit this user', () =>
    inNamespace([], async (namespace) => {
      const client = await userClient(namespace, etcOfUser(directory));
      await client.must('start-unit', join(directory, 'missing'), TESTED_HELPER);
      const closed = join(directory, 'closed');
      mkdirSync(closed, { mode: 0o700 });
      const other = await userClient(namespace, etcOfUser(directory));
      await other.must('start-unit', join(closed, 'helper.sock'), TESTED_HELPER);
      await other.child.waitForLine(/"info":"no helper from .* \(EACCES\)"/);
    }));

  it('refuses what systemd would not pass', async () => {
    const cases: readonly (readonly [NodeJS.ProcessEnv, RegExp])[] = [
      [{}, /LISTEN_PID: not for this process/],
      [{ LISTEN_PID: '1', LISTEN_FDS: '1' }, /LISTEN_PID: not for this process/],
      [{ SUDO_UID: String(UID) }, /only systemd can start this/],
    ];
    for (const [env, message] of cases) {
      const { status, stderr } = await run([TESTED_HELPER, '--socket-unit'], {
        env: { PATH: SEARCH_PATH, ...env },
      });
      assert.equal(status, HELPER_EXIT_SETUP);
      assert.match(stderr, message);
    }
    // As many descriptors as it says, but not a connection.
    const exec = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" --socket-unit 3< /dev/null';
    assert.match((await run(['sh', '-c', exec, TESTED_HELPER])).stderr, /ListenSequentialPacket/);
  });

  it('is what the shipped units start', () => {
    const socket = readFileSync(join(UNITS, 'tunnel-helper.socket'), 'utf8');
    assert.match(socket, new RegExp(`^ListenSequentialPacket=${HELPER_SOCKET}$`, 'm'));
    assert.match(socket, /^Accept=yes$/m);
    assert.match(socket, /^SocketMode=0660$/m);
    const service = readFileSync(join(UNITS, 'tunnel-helper@.service'), 'utf8');
    assert.match(service, /^ExecStart=\/usr\/local\/libexec\/tunnel-helper --socket-unit$/m);
  });

  it('runs with the capabilities that the unit leaves', () =>
    inNamespace([], async (namespace) => {
      const bounded = (argv: readonly string[]) => [
        ...argv.slice(0, 4),
        ...['setpriv', '--bounding-set=-all,+net_admin', '--inh-caps=-all'],
        ...argv.slice(4),
      ];
      await withUnit(
        namespace,
        async (socket) => {
          const client = await userClient(namespace, etcOfUser(directory));
          await client.must('start-unit', socket, '/nowhere');
          await client.create();
          await client.must('routes', '10.0.0.0/8');
        },
        bounded,
      );
    }));
});
