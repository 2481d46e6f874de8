/** What the kernel, the helper and the launcher say, and nft. */
import { readRuleset } from '../../../src/system/doctor/nftables.ts';
import {
  decodeMessage,
  HELPER_MAGIC,
  HELPER_VERSION,
  LAYOUT,
  MESSAGE,
  messageVersion,
} from '../../../src/system/helper/protocol.ts';
import {
  decodeLauncherMessage,
  LAUNCHER_LAYOUT,
  LAUNCHER_MAGIC,
  LAUNCHER_MESSAGE,
  LAUNCHER_VERSION,
  launcherVersion,
} from '../../../src/system/launcher/protocol.ts';
import {
  readDeviceName,
  readNetworks,
  readRoutes,
  readRules,
} from '../../../src/system/routing/rtnetlink.ts';
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
      readRuleset(text(input));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error; // not JSON
    }
  },
};

export const KERNEL_TARGETS: readonly FuzzTarget[] = [helper, launcher, routing, nftables];
