/** What the kernel, the helper, the launcher and nft say, and what the privileged part is asked. */
import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { readRuleset } from '../../../src/system/doctor/nftables.ts';
import {
  decodeMessage,
  HELPER_MAGIC,
  HELPER_VERSION,
  LAYOUT,
  MESSAGE,
  messageVersion,
} from '../../../src/system/helper/protocol.ts';
import { incomingConnections } from '../../../src/system/incoming.ts';
import {
  decodeLauncherMessage,
  LAUNCHER_LAYOUT,
  LAUNCHER_MAGIC,
  LAUNCHER_MESSAGE,
  LAUNCHER_VERSION,
  launcherVersion,
} from '../../../src/system/launcher/protocol.ts';
import { portsOfIptables, portsOfRuleset } from '../../../src/system/passedonports.ts';
import { decodeAnswer, decodeRequest, encode } from '../../../src/system/privileged/protocol.ts';
import {
  readDeviceName,
  readNetworks,
  readRoutes,
  readRules,
} from '../../../src/system/routing/rtnetlink.ts';
import { SocketOwners } from '../../../src/system/socketowner.ts';
import { SocketSources } from '../../../src/system/socketsources.ts';
import { SocketUsers } from '../../../src/system/socketusers.ts';
import type { FuzzTarget } from '../engine.ts';
import { text } from '../text.ts';

/** A header and zeros, as the programs in C write them. */
function message(magic: number, version: number, type: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  bytes.writeUInt32LE(magic, 0);
  bytes.writeUInt16LE(version, 4);
  bytes.writeUInt16LE(type, 6);
  bytes.writeUInt32LE(size, 8);
  return bytes;
}

const helper: FuzzTarget = {
  name: 'helper-messages',
  seeds: (['hello', 'created', 'done', 'failed'] as const).map((kind) =>
    message(HELPER_MAGIC, HELPER_VERSION, MESSAGE[kind], LAYOUT[kind].size),
  ),
  maxBytes: 200,
  run(input) {
    messageVersion(input);
    decodeMessage(input);
  },
};

const launcher: FuzzTarget = {
  name: 'launcher-messages',
  seeds: (['descriptor', 'ready', 'failed'] as const).map((kind) =>
    message(LAUNCHER_MAGIC, LAUNCHER_VERSION, LAUNCHER_MESSAGE[kind], LAUNCHER_LAYOUT[kind].size),
  ),
  maxBytes: 200,
  run(input) {
    launcherVersion(input);
    decodeLauncherMessage(input);
  },
};

/** struct nlmsghdr, and a body with attributes. */
function netlink(type: number, body: string): Buffer {
  const rest = Buffer.from(body.replaceAll(' ', ''), 'hex');
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + rest.length, 0);
  header.writeUInt16LE(type, 4);
  return Buffer.concat([header, rest]);
}

const routing: FuzzTarget = {
  name: 'rtnetlink',
  seeds: [
    // 10.0.0.0/8 by 192.0.2.1 at device 2, in the main table.
    netlink(24, '02080000fe04000100000000 08000100 0a000000 08000500 c0000201 08000400 02000000'),
    // The same by several hops.
    netlink(
      24,
      '02080000fe04000100000000 08000100 0a000000 14000900 10000000 02000000 08000500 c0000201',
    ),
    // A rule for users and ports.
    netlink(
      32,
      '0200000000000001 00000000 08000600 05000000 0c001400 e8030000 e8030000 08001800 50005000',
    ),
    netlink(20, '02180000 02000000 08000100 c0000201 08000200 c0000201'),
    netlink(16, '00000000 02000000 00000000 00000000 08000300 65746800'),
  ],
  maxBytes: 600,
  run(input) {
    readRoutes(input);
    readRules(input);
    readNetworks(input);
    readDeviceName(input);
  },
};

const nftables: FuzzTarget = {
  name: 'nft-ruleset',
  seeds: [
    JSON.stringify({
      nftables: [
        { table: { family: 'inet', name: 'f' } },
        {
          chain: { family: 'inet', table: 'f', name: 'in', hook: 'input', prio: 0, policy: 'drop' },
        },
        {
          rule: {
            family: 'inet',
            table: 'f',
            chain: 'in',
            expr: [
              { match: { op: '==', left: { meta: { key: 'iifname' } }, right: 'lo' } },
              { accept: null },
            ],
          },
        },
        {
          set: {
            family: 'inet',
            table: 'f',
            name: 's',
            elem: [{ range: ['10.0.0.1', '10.0.0.9'] }],
          },
        },
      ],
    }),
  ],
  words: [
    'null',
    '[',
    '{}',
    '"jump":{"target":"in"}',
    '"range"',
    '"prefix"',
    '"set"',
    '-1',
    '1e99',
  ],
  maxBytes: 3_000,
  run(input) {
    try {
      portsOfRuleset(text(input));
      portsOfIptables(text(input));
      readRuleset(text(input));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error; // not JSON
    }
  },
};

const LOCAL = { host: '127.0.0.1', port: 40_000 };
const PEER = { host: '127.0.0.1', port: 1080 };
const LINE =
  '   0: 0100007F:9C40 0100007F:0438 01 00000000:00000000 00:00000000 00000000  1000        0 31337 1 0 100 0 0 10 0';
const LINE6 =
  '   1: 0000000000000000FFFF00000100007F:9C40 0000000000000000FFFF00000100007F:0438 01 00000000:00000000 00:00000000 00000000  1000        0 31338 1';

/** /proc/net/tcp and the like. Each reader finds a user, or nobody. */
const tables: FuzzTarget = {
  name: 'socket-tables',
  seeds: [
    `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n${LINE}\n`,
    LINE6,
    LINE.replace(' 01 ', ' 0A '),
    `${LINE.replace(' 1000 ', ' 0 ')}\n${LINE6}`,
  ],
  words: ['0100007F:9C40 ', '0100007F:0438 ', ' 01 ', ' 0A ', '\n', ': ', ' 0 31337'],
  maxBytes: 1_000,
  async run(input) {
    const table = (): Promise<string> => Promise.resolve(Buffer.from(input).toString('latin1'));
    const owners = new SocketOwners(table);
    const sources = new SocketSources({ ask: null, table, user: -1 });
    const users = new SocketUsers({ table, addresses: () => new Set([LOCAL.host]) });
    const [owner, source, udp, tcp] = await Promise.all([
      owners.uidOf(LOCAL, PEER),
      sources.sourceOf(LOCAL, PEER),
      users.userOf(LOCAL, undefined),
      users.userOf(LOCAL, PEER),
    ]);
    for (const found of [source?.user, udp, tcp])
      assert.ok(found === undefined || (Number.isInteger(found) && found >= 0), `${found}`);
    assert.ok(owner === undefined || !(owner < 0), `${owner}`);
    for (const { peer, port } of incomingConnections(await table()))
      assert.ok(isIP(peer) !== 0 && port >= 0, `${peer} ${port}`);
  },
};

/** Only a request that has exactly its fields passes. */
const privileged: FuzzTarget = {
  name: 'privileged-requests',
  seeds: [
    ...(['recover', 'directory', 'helper', 'restore'] as const).map((type) => encode({ type })),
    encode({ type: 'resolv-conf', device: 'tun0' }),
    encode({ type: 'revert', device: 'tun12' }),
    encode({ type: 'resolved', device: 'tun0', domains: ['corp.example', '.'] }),
    encode({ type: 'ruleset', from: 8192 }),
    encode({ ok: true, value: 'x' }),
    encode({ ok: false, code: 'c', message: 'm', hint: undefined }),
  ],
  words: ['"device":"tun0"', '"domains":[', '"__proto__":', '"type":', '"from":', '1e9', '-0', '.'],
  maxBytes: 1_000,
  run(input) {
    const request = decodeRequest(input);
    if (request !== undefined) {
      assert.deepEqual(decodeRequest(encode(request)), request);
      if ('device' in request) assert.match(request.device, /^tun\d{1,7}$/);
      if ('from' in request) assert.ok(Number.isSafeInteger(request.from) && request.from >= 0);
      if ('domains' in request)
        for (const domain of request.domains) assert.match(domain, /^(\.|[-a-z0-9_.]{1,253})$/);
    }
    const answer = decodeAnswer(input);
    if (answer?.ok === false) assert.equal(typeof answer.message, 'string');
  },
};

export const KERNEL_TARGETS: readonly FuzzTarget[] = [
  helper,
  launcher,
  routing,
  nftables,
  tables,
  privileged,
];
