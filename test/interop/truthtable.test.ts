/**
 * OpenSSH's own truth table: which settings of sshd_config and authorized_keys permit a connection,
 * cell by cell.
 *
 *   AllowTcpForwarding  x  PermitOpen  x  DisableForwarding
 *     x  options of the key  x  permitopen of the key  x  destination
 *
 * One sshd has all server settings in `Match LocalAddress` blocks, one address of 127/8 each; one
 * authorized_keys file has all key options, one key each. So a connection is a row, and it opens
 * four destinations: one that both lists name, one for each list alone, and one in neither.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ConnectError } from '../../src/flow/connector.ts';
import { accessWith, dialEmbedded, LogLines, settingsFor } from '../support/embedded.ts';
import { LoopbackSshd, makeKey, sshdMissing } from '../support/loopback-sshd.ts';

const ALLOW = ['yes', 'all', 'local', 'remote', 'no'] as const;
const PERMIT_OPEN = ['any', 'none', 'list'] as const;
const DISABLE = ['no', 'yes'] as const;
const KEY_OPTIONS = ['', 'restrict', 'restrict,port-forwarding', 'no-port-forwarding'] as const;
const KEY_LISTS = [false, true] as const;
/** Which of the two lists name a destination. */
const DESTINATIONS = [
  { name: 'in both lists', server: true, key: true },
  { name: "in the server's list", server: true, key: false },
  { name: "in the key's list", server: false, key: true },
  { name: 'in no list', server: false, key: false },
] as const;
/** Handshakes at a time: enough to keep two cores busy. */
const PARALLEL = 6;

interface ServerSettings {
  readonly allow: (typeof ALLOW)[number];
  readonly permitOpen: (typeof PERMIT_OPEN)[number];
  readonly disable: (typeof DISABLE)[number];
  readonly address: string;
}

interface Key {
  readonly options: (typeof KEY_OPTIONS)[number];
  readonly listed: boolean;
  readonly file: string;
}

const SERVERS: readonly ServerSettings[] = ALLOW.flatMap((allow) =>
  PERMIT_OPEN.flatMap((permitOpen) => DISABLE.map((disable) => ({ allow, permitOpen, disable }))),
).map((settings, i) => ({ ...settings, address: `127.88.0.${i + 1}` }));

/** sshd_config(5) and sshd(8), AUTHORIZED_KEYS FILE FORMAT. */
function mayForward(server: ServerSettings, key: Key): boolean {
  return (
    ['yes', 'all', 'local'].includes(server.allow) &&
    server.disable === 'no' &&
    (key.options === '' || key.options === 'restrict,port-forwarding')
  );
}

function isPermitted(server: ServerSettings, key: Key, at: (typeof DESTINATIONS)[number]): boolean {
  const byServer = server.permitOpen === 'any' || (server.permitOpen === 'list' && at.server);
  return mayForward(server, key) && byServer && (!key.listed || at.key);
}

describe('what sshd permits', { skip: sshdMissing, timeout: 60_000 }, () => {
  let directory: string;
  let sshd: LoopbackSshd;
  let keys: readonly Key[];
  const listeners: Server[] = [];
  let ports: readonly number[];
  let hostKey: string;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-truth-'));
    for (const _ of DESTINATIONS) {
      const server = createServer((socket) => {
        socket.on('error', () => {
          // It only matters that it was accepted.
        });
        socket.end();
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      listeners.push(server);
    }
    ports = listeners.map((server) => (server.address() as AddressInfo).port);
    const listed = (which: 'server' | 'key') =>
      DESTINATIONS.flatMap((at, i) => (at[which] ? [`127.0.0.1:${ports[i]}`] : []));

    keys = KEY_OPTIONS.flatMap((options) =>
      KEY_LISTS.map((list) => ({ options, listed: list })),
    ).map((key, i) => ({ ...key, file: join(directory, `key${i}`) }));
    await Promise.all(keys.map(({ file }) => makeKey(file, 'ed25519')));
    const lines = await Promise.all(
      keys.map(async (key) => {
        const open = key.listed ? listed('key').map((at) => `permitopen="${at}"`) : [];
        const options = [key.options, ...open].filter((option) => option !== '').join(',');
        return `${options} ${(await readFile(`${key.file}.pub`, 'utf8')).trim()}`.trim();
      }),
    );
    const match = SERVERS.flatMap(({ allow, permitOpen, disable, address }) => [
      `Match LocalAddress ${address}`,
      `  AllowTcpForwarding ${allow}`,
      `  PermitOpen ${permitOpen === 'list' ? listed('server').join(' ') : permitOpen}`,
      `  DisableForwarding ${disable}`,
    ]);
    sshd = await LoopbackSshd.start({
      listen: '0.0.0.0',
      match,
      authorizedKeys: { lines, only: true },
    });
    const line = await sshd.knownHostsLine();
    hostKey = line.slice(line.indexOf(' '));
  });
  after(async () => {
    for (const server of listeners) server.close();
    await sshd?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  /** The errors of a row, one line each. */
  async function checkRow(server: ServerSettings, key: Key): Promise<string[]> {
    const row = `AllowTcpForwarding ${server.allow}, PermitOpen ${server.permitOpen}, DisableForwarding ${server.disable}, key "${key.options}"${key.listed ? ' with permitopen' : ''}`;
    const observer = new LogLines();
    const access = await accessWith(hostKey, key.file);
    const transport = await dialEmbedded(
      [settingsFor(sshd, 'jump', { hostName: server.address })],
      {
        access: async () => access,
        observer,
      },
    );
    const problems: string[] = [];
    // Prohibited ones first, so that in a row without any right no success comes before the
    // warning.
    const order = DESTINATIONS.map((at, i) => ({ at, port: ports[i] ?? 0 })).toReversed();
    let first: string | undefined;
    for (const { at, port } of order) {
      let outcome = 'opened';
      try {
        (await transport.connect({ host: '127.0.0.1', port })).abort(undefined);
      } catch (error) {
        outcome = error instanceof ConnectError ? error.refusal : String(error);
        if (error instanceof ConnectError && !/does not permit 127\.0\.0\.1:/.test(error.message))
          problems.push(`${row}: not explained: ${error.message}`);
      }
      first ??= outcome;
      const expected = isPermitted(server, key, at) ? 'opened' : 'prohibited';
      if (outcome !== expected) problems.push(`${row}: ${at.name}: ${outcome}, not ${expected}`);
    }
    problems.push(
      ...explained(server, key, first, observer).map((problem) => `${row}: ${problem}`),
    );
    await transport.close();
    return problems;
  }

  it(`${SERVERS.length * KEY_OPTIONS.length * KEY_LISTS.length * DESTINATIONS.length} cells`, async () => {
    const rows = SERVERS.flatMap((server) => keys.map((key) => ({ server, key })));
    const problems: string[] = [];
    const work = async (): Promise<void> => {
      for (let row = rows.shift(); row !== undefined; row = rows.shift())
        problems.push(...(await checkRow(row.server, row.key)));
    };
    await Promise.all(Array.from({ length: PARALLEL }, work));
    assert.deepEqual(problems, []);
  });
});

/**
 * Expects one warning if the first connection was prohibited, and that it names the possible
 * reasons.
 */
function explained(
  server: ServerSettings,
  key: Key,
  first: string | undefined,
  observer: LogLines,
): string[] {
  const warnings = observer.lines.filter((line) => line.startsWith('warning: '));
  if (first === 'opened') return warnings;
  const [warning = 'none', ...more] = warnings;
  if (more.length > 0) return warnings;
  const keyForbids = key.options === 'restrict' || key.options === 'no-port-forwarding';
  const expected = keyForbids
    ? /the key that was used may not forward.*restrict,port-forwarding/
    : key.listed && ['yes', 'all', 'local'].includes(server.allow) // else sshd doesn't mention permitopen
      ? /the key that was used may only forward to what its permitopen options list.*AllowTcpForwarding.*DisableForwarding/
      : /the account may lack the right to forward.*AllowTcpForwarding.*DisableForwarding.*PermitOpen/;
  return expected.test(warning) ? [] : [`warning: ${warning}, not ${expected} (${server.address})`];
}
