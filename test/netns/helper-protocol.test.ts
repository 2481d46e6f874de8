/**
 * The privileged helper: malformed requests, sent as bytes over a real link, are refused and change
 * nothing.
 */
import assert from 'node:assert/strict';
import { endianness } from 'node:os';
import { describe, it } from 'node:test';
import type { Prefix } from '../../src/net/prefix.ts';
import {
  encodeCreate,
  encodeRoutes,
  encodeUnreachable,
  HELPER_MAX_PREFIXES,
  HELPER_VERSION,
  type HelperMessage,
  LAYOUT,
  MESSAGE,
  STEP,
} from '../../src/system/helper/protocol.ts';
import { type HelperClient, inNamespace, TESTED_HELPER } from '../support/helperlab.ts';
import { labUnavailable } from '../support/requirements.ts';

const skip = labUnavailable();
const LITTLE = endianness() === 'LE';

const CREATE = encodeCreate({ ipv4: true, ipv6: true, mtu: 1500 });
const TEN: Prefix = { family: 4, address: '10.0.0.0', length: 8 };
const ROUTES = encodeRoutes([TEN]);
const PREFIX_AT = LAYOUT.routes.size;

/** Copies a message and changes one field, by default of 32 bits. */
function changed(
  message: Uint8Array,
  at: number,
  value: number,
  bits: 8 | 16 | 32 = 32,
): Uint8Array {
  const copy = Buffer.from(message);
  if (bits === 8) copy[at] = value;
  else
    new DataView(copy.buffer, copy.byteOffset, copy.length)[
      bits === 16 ? 'setUint16' : 'setUint32'
    ](at, value, LITTLE);
  return copy;
}

/** A message of `length` bytes whose header says so. */
function resized(message: Uint8Array, length: number): Uint8Array {
  const copy = Buffer.alloc(length);
  copy.set(message.subarray(0, length));
  return length < LAYOUT.header.size ? copy : changed(copy, LAYOUT.header.length, length);
}

const tooMany = resized(
  ROUTES,
  LAYOUT.routes.size + HELPER_MAX_PREFIXES * LAYOUT.prefix.size + LAYOUT.prefix.size,
);

/** Before CREATE has succeeded. */
const BEFORE: Readonly<Record<string, Uint8Array>> = {
  'one byte': resized(CREATE, 1),
  'half a header': resized(CREATE, LAYOUT.header.size - 1),
  'only a header': resized(CREATE, LAYOUT.header.size),
  'wrong magic number': changed(CREATE, LAYOUT.header.magic, 0x4c4e5553),
  'wrong version': changed(CREATE, LAYOUT.header.version, HELPER_VERSION + 1, 16),
  'length too large': changed(CREATE, LAYOUT.header.length, LAYOUT.create.size + 1),
  'length too small': changed(CREATE, LAYOUT.header.length, LAYOUT.create.size - 1),
  'CREATE with a byte too many': resized(CREATE, LAYOUT.create.size + 1),
  'CREATE with a byte too few': resized(CREATE, LAYOUT.create.size - 1),
  'no family': changed(CREATE, LAYOUT.create.families, 0),
  'unknown family': changed(CREATE, LAYOUT.create.families, 7),
  'MTU too small': changed(CREATE, LAYOUT.create.mtu, 1279),
  'MTU too large': changed(CREATE, LAYOUT.create.mtu, 65536),
  'ROUTES before CREATE': ROUTES,
  'UNREACHABLE before CREATE': encodeUnreachable([TEN]),
  'UNREACHABLE without count': resized(encodeUnreachable([]), LAYOUT.header.size),
  'unknown message': changed(CREATE, LAYOUT.header.type, 99, 16),
  'a message of the helper': changed(
    resized(CREATE, LAYOUT.done.size),
    LAYOUT.header.type,
    MESSAGE.done,
    16,
  ),
};

/** When the device exists and 10.0.0.0/8 is captured. */
const AFTER: Readonly<Record<string, Uint8Array>> = {
  'CREATE twice': CREATE,
  'ROUTES with a byte too many': resized(ROUTES, ROUTES.length + 1),
  'ROUTES with a byte too few': resized(ROUTES, ROUTES.length - 1),
  'ROUTES without count': resized(ROUTES, LAYOUT.header.size),
  'a count above the prefixes': changed(ROUTES, LAYOUT.routes.count, 2),
  'a count below the prefixes': changed(ROUTES, LAYOUT.routes.count, 0),
  'a count whose product overflows': changed(ROUTES, LAYOUT.routes.count, 0xcccccccd),
  'a count of all ones': changed(ROUTES, LAYOUT.routes.count, 0xffffffff),
  'one prefix too many': changed(tooMany, LAYOUT.routes.count, HELPER_MAX_PREFIXES + 1),
  'family 5': changed(ROUTES, PREFIX_AT + LAYOUT.prefix.family, 5, 8),
  'IPv4 length 33': changed(ROUTES, PREFIX_AT + LAYOUT.prefix.length, 33, 8),
  'IPv6 length 129': encodeRoutes([{ family: 6, address: '2001:db8::', length: 129 }]),
  'an unknown flag': changed(ROUTES, PREFIX_AT + LAYOUT.prefix.flags, 4, 8),
  'a wide prefix that is shared': changed(ROUTES, PREFIX_AT + LAYOUT.prefix.flags, 2, 8),
  'a reserved octet': changed(ROUTES, PREFIX_AT + 3, 1, 8),
  'host bits, IPv4': encodeRoutes([TEN, { family: 4, address: '192.0.2.1', length: 24 }]),
  'host bits, within an octet': encodeRoutes([{ family: 4, address: '192.0.2.128', length: 24 }]),
  'host bits, IPv6': encodeRoutes([{ family: 6, address: '2001:db8::1', length: 127 }]),
  'UNREACHABLE with a byte too many': resized(encodeUnreachable([TEN]), ROUTES.length + 1),
  'UNREACHABLE with a count above the prefixes': changed(
    encodeUnreachable([TEN]),
    LAYOUT.routes.count,
    2,
  ),
  'UNREACHABLE with host bits': encodeUnreachable([{ ...TEN, length: 4 }]),
  'bits behind an IPv4 address': changed(ROUTES, PREFIX_AT + LAYOUT.prefix.address + 15, 1, 8),
};

interface Received {
  readonly message?: HelperMessage;
  readonly fd?: boolean;
  /** The errno with which the link ended. */
  readonly end?: number;
}

async function next(client: HelperClient): Promise<Received> {
  return (await client.must('answer')) as Received;
}

const send = (client: HelperClient, message: Uint8Array) =>
  client.must('send', Buffer.from(message).toString('hex'));

async function serve(client: HelperClient): Promise<void> {
  const hello = (await client.must('serve', TESTED_HELPER)) as Received;
  assert.equal(hello.message?.type, 'hello');
}

/** Expects FAILED at step REQUEST, and then the end. */
async function refused(client: HelperClient): Promise<void> {
  const { message } = await next(client);
  assert.equal(message?.type, 'failed');
  assert.equal(message.step, STEP.request);
  assert.notEqual(message.detail, '');
  assert.equal((await next(client)).end, 0);
}

describe('helper: malformed requests', { skip }, () => {
  it('are refused before the device exists', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      for (const [what, message] of Object.entries(BEFORE)) {
        const client = await namespace.client();
        await serve(client);
        await send(client, message);
        await refused(client).catch((error) => assert.fail(`${what}: ${error}`));
        assert.equal(await namespace.state(), before, what);
        await client.stop();
      }
    }));

  it('end the session and the device while it captures', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      for (const [what, message] of Object.entries(AFTER)) {
        const client = await namespace.client();
        await serve(client);
        await send(client, CREATE);
        const created = await next(client);
        assert.equal(created.message?.type, 'created');
        assert.equal(created.fd, true);
        await send(client, ROUTES);
        assert.equal((await next(client)).message?.type, 'done');
        await send(client, message);
        await refused(client).catch((error) => assert.fail(`${what}: ${error}`));
        // The client still has the descriptor, so it was the helper that deleted the device.
        assert.equal(await namespace.state(), before, what);
        await client.stop();
      }
    }));

  it('longer than any request are refused', () =>
    inNamespace([], async (namespace) => {
      const client = await namespace.client();
      await serve(client);
      await send(
        client,
        new Uint8Array(LAYOUT.routes.size + HELPER_MAX_PREFIXES * LAYOUT.prefix.size + 1),
      );
      await refused(client);
    }));
});
