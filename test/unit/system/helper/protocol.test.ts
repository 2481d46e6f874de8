/**
 * The messages between program and helper: both sides' layouts, and every message there and back.
 */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addressFromNumber } from '../../../../src/net/address.ts';
import { endsSession, failedError } from '../../../../src/system/helper/errors.ts';
import { notPermitted } from '../../../../src/system/helper/permission.ts';
import {
  decodeMessage,
  encodeCreate,
  encodeRoutes,
  encodeUnreachable,
  HELPER_EXIT_NOT_ROOT,
  HELPER_EXIT_SETUP,
  HELPER_MAGIC,
  HELPER_MAX_PREFIXES,
  HELPER_VERSION,
  LAYOUT,
  MESSAGE,
  STEP,
} from '../../../../src/system/helper/protocol.ts';
import { printedByC } from '../../../support/cstructs.ts';

const { errno: ERRNO } = constants;

/** Prints the header's constants and layouts as JSON, and messages of the helper's in hex. */
const BODY = `
  struct helper_hello hello = {.header = HEADER(HELPER_HELLO, hello), .pid = 123456,
                               .removed = "tun0 tun3 "};
  struct helper_created created = {.header = HEADER(HELPER_CREATED, created), .ifindex = 7, .name = "tun0",
                                   .address4 = {198, 18, 3, 1}, .address6 = {0x20, 1, 0, 2, [7] = 3, [15] = 1}};
  struct helper_created created4 = {.header = HEADER(HELPER_CREATED, created4), .ifindex = 8, .name = "fifteen-letters",
                                    .address4 = {198, 18, 0, 1}};
  struct helper_done done = {.header = HEADER(HELPER_DONE, done)};
  struct helper_failed failed = {.header = HEADER(HELPER_FAILED, failed), .step = HELPER_STEP_ROUTE, .error = 17,
                                 .detail = "10.0.0.0/8 eth0"};
  struct helper_failed full = failed;
  struct helper_create create = {.header = HEADER(HELPER_CREATE, create), .families = HELPER_IPV6, .mtu = 65520};
  struct { struct helper_routes routes; struct helper_prefix prefixes[2]; } routes = {
      .routes = {.header = HEADER(HELPER_ROUTES, routes), .count = 2},
      .prefixes = {{.family = 4, .length = 8, .address = {10}}, {.family = 6, .length = 32, .address = {0x20, 1, 0xd, 0xb8}}}};
  struct { struct helper_routes routes; struct helper_prefix prefixes[1]; } unreachable = {
      .routes = {.header = HEADER(HELPER_UNREACHABLE, unreachable), .count = 1},
      .prefixes = {{.family = 4, .length = 32, .flags = HELPER_PREFERRED, .address = {10, 0, 0, 1}}}};
  memset(full.detail, 'x', sizeof full.detail);

  SIZE(header); AT(header, magic, "magic"); AT(header, version, "version"); AT(header, type, "type");
  AT(header, length, "length");
  SIZE(hello); AT(hello, pid, "pid"); AT(hello, removed, "removed");
  SIZE(create); AT(create, families, "families"); AT(create, mtu, "mtu");
  SIZE(created); AT(created, ifindex, "ifindex"); AT(created, name, "name"); AT(created, address4, "address4");
  AT(created, address6, "address6");
  SIZE(prefix); AT(prefix, family, "family"); AT(prefix, length, "length");
  AT(prefix, flags, "flags"); AT(prefix, address, "address");
  SIZE(routes); AT(routes, count, "count");
  SIZE(done);
  SIZE(failed); AT(failed, step, "step"); AT(failed, error, "error"); AT(failed, detail, "detail");
  VALUE(HELPER_MAGIC); VALUE(HELPER_VERSION); VALUE(HELPER_MAX_PREFIXES); VALUE(HELPER_EXIT_SETUP);
  VALUE(HELPER_EXIT_NOT_ROOT);
  VALUE(HELPER_HELLO); VALUE(HELPER_CREATE); VALUE(HELPER_CREATED); VALUE(HELPER_ROUTES); VALUE(HELPER_DONE);
  VALUE(HELPER_FAILED); VALUE(HELPER_UNREACHABLE);
  VALUE(HELPER_STEP_PRIVILEGES); VALUE(HELPER_STEP_OPEN_TUN); VALUE(HELPER_STEP_CREATE_TUN); VALUE(HELPER_STEP_ADDRESS);
  VALUE(HELPER_STEP_LINK_UP); VALUE(HELPER_STEP_ROUTE); VALUE(HELPER_STEP_REQUEST); VALUE(HELPER_STEP_LOST);
  VALUE(HELPER_STEP_PERMIT); VALUE(HELPER_STEP_RULES);
  HEX("hello", hello); HEX("created", created); HEX("created4", created4); HEX("done", done); HEX("failed", failed);
  HEX("full", full); HEX("create", create); HEX("routes", routes);
  HEX("unreachable", unreachable);
`;

describe('helper protocol', () => {
  const c = printedByC('helper/protocol.h', 'helper', BODY);
  const bytes = (name: string) => Buffer.from(String(c[name]), 'hex');

  it('has the layout of the C structs', () => {
    for (const [struct, fields] of Object.entries(LAYOUT)) {
      for (const [field, at] of Object.entries(fields))
        assert.equal(at, c[`${struct}.${field}`], `${struct}.${field}`);
    }
  });

  it('has the constants of the C header', () => {
    assert.equal(HELPER_MAGIC, c['HELPER_MAGIC']);
    assert.equal(HELPER_VERSION, c['HELPER_VERSION']);
    assert.equal(HELPER_MAX_PREFIXES, c['HELPER_MAX_PREFIXES']);
    assert.equal(HELPER_EXIT_SETUP, c['HELPER_EXIT_SETUP']);
    assert.equal(HELPER_EXIT_NOT_ROOT, c['HELPER_EXIT_NOT_ROOT']);
    for (const [name, value] of Object.entries(MESSAGE))
      assert.equal(value, c[`HELPER_${name.toUpperCase()}`]);
    for (const [name, value] of Object.entries(STEP)) {
      const constant = name.replace(/[A-Z]/g, '_$&').toUpperCase();
      assert.equal(value, c[`HELPER_STEP_${constant}`], constant);
    }
  });

  it('writes what C would write', () => {
    assert.deepEqual(
      Buffer.from(encodeCreate({ ipv4: false, ipv6: true, mtu: 65520 })),
      bytes('create'),
    );
    const routes = encodeRoutes([
      { family: 4, address: '10.0.0.0', length: 8 },
      { family: 6, address: '2001:db8::', length: 32 },
    ]);
    assert.deepEqual(Buffer.from(routes), bytes('routes'));
    const host = {
      family: 4,
      address: '10.0.0.1',
      length: 32,
      preferred: true,
      shared: true,
    } as const;
    assert.deepEqual(Buffer.from(encodeUnreachable([host])), bytes('unreachable'));
    assert.throws(
      () =>
        encodeRoutes(
          Array(HELPER_MAX_PREFIXES + 1).fill({ family: 4, address: '10.0.0.0', length: 8 }),
        ),
      RangeError,
    );
  });

  it('reads what C writes', () => {
    assert.deepEqual(decodeMessage(bytes('hello')), {
      type: 'hello',
      pid: 123456,
      removed: ['tun0', 'tun3'],
    });
    assert.deepEqual(decodeMessage(bytes('done')), { type: 'done' });
    assert.deepEqual(decodeMessage(bytes('created')), {
      type: 'created',
      ifindex: 7,
      name: 'tun0',
      address4: '198.18.3.1',
      address6: '2001:2:0:3::1',
    });
    assert.deepEqual(decodeMessage(bytes('created4')), {
      type: 'created',
      ifindex: 8,
      name: 'fifteen-letters',
      address4: '198.18.0.1',
      address6: undefined,
    });
    assert.deepEqual(decodeMessage(bytes('failed')), {
      type: 'failed',
      step: STEP.route,
      errno: 17,
      detail: '10.0.0.0/8 eth0',
    });
    const full = decodeMessage(bytes('full'));
    assert.equal(full?.type === 'failed' && full.detail, 'x'.repeat(116));
  });

  it('reads a message wherever it lies in its buffer', () => {
    const hello = bytes('hello');
    const larger = Buffer.concat([Buffer.alloc(5, 0xff), hello, Buffer.alloc(3, 0xff)]);
    assert.deepEqual(decodeMessage(larger.subarray(5, 5 + hello.length)), {
      type: 'hello',
      pid: 123456,
      removed: ['tun0', 'tun3'],
    });
  });

  it('takes nothing else for a message', () => {
    const names = ['hello', 'created', 'done', 'failed'] as const;
    for (const name of names) {
      const message = bytes(name);
      for (let length = 0; length < message.length; length++) {
        assert.equal(decodeMessage(message.subarray(0, length)), undefined);
      }
      assert.equal(decodeMessage(Buffer.concat([message, Buffer.alloc(1)])), undefined);
      for (let at = 0; at < LAYOUT.header.size; at++) {
        const broken = Buffer.from(message);
        broken[at] = (broken[at] ?? 0) ^ 0x40;
        assert.equal(decodeMessage(broken), undefined, `${name}, octet ${at}`);
      }
    }
    assert.equal(decodeMessage(bytes('create')), undefined);
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.uint8Array({ maxLength: 200 }), (name, noise) => {
        const mixed = Buffer.concat([bytes(name).subarray(0, LAYOUT.header.size), noise]);
        const message = decodeMessage(mixed);
        assert.ok(message === undefined || mixed.length === bytes(name).length);
      }),
    );
  });

  it('writes each prefix in its place', () => {
    const prefix = fc.constantFrom(4 as const, 6 as const).chain((family) =>
      fc.record({
        family: fc.constant(family),
        address: fc
          .bigInt(0n, (1n << (family === 4 ? 32n : 128n)) - 1n)
          .map((n) => addressFromNumber(n, family)),
        length: fc.integer({ min: 0, max: family === 4 ? 32 : 128 }),
      }),
    );
    fc.assert(
      fc.property(fc.array(prefix, { maxLength: 20 }), (prefixes) => {
        const message = Buffer.from(encodeRoutes(prefixes));
        assert.equal(message.length, LAYOUT.routes.size + prefixes.length * LAYOUT.prefix.size);
        prefixes.forEach(({ family, address, length }, index) => {
          const at = LAYOUT.routes.size + index * LAYOUT.prefix.size;
          const field = message.subarray(at, at + LAYOUT.prefix.size);
          assert.equal(field[LAYOUT.prefix.family], family);
          assert.equal(field[LAYOUT.prefix.length], length);
          const digits = field.subarray(LAYOUT.prefix.address).toString('hex');
          const number = BigInt(`0x${family === 4 ? digits.slice(0, 8) : digits}`);
          assert.equal(addressFromNumber(number, family), address);
          if (family === 4) assert.match(digits.slice(8), /^0+$/);
        });
      }),
    );
  });
});

describe('failures of the helper', () => {
  for (const [step, errno, detail, code, message] of [
    [
      STEP.privileges,
      ERRNO.EPERM,
      'CAP_NET_ADMIN',
      'capture-privileges',
      /too few privileges.*CAP_NET_ADMIN/,
    ],
    [STEP.openTun, ERRNO.ENOENT, '/dev/net/tun', 'capture-no-tun', /there is no \/dev\/net\/tun/],
    [STEP.openTun, ERRNO.ENODEV, '/dev/net/tun', 'capture-no-tun', /no TUN driver/],
    [STEP.openTun, ERRNO.EACCES, '/dev/net/tun', 'capture-no-tun', /EACCES/],
    [STEP.createTun, ERRNO.EPERM, '/dev/net/tun', 'capture-privileges', /may not be made/],
    [STEP.createTun, ERRNO.EINVAL, '/dev/net/tun', 'capture-failed', /EINVAL/],
    [
      STEP.address,
      ERRNO.EADDRNOTAVAIL,
      '198.18.0.0/15',
      'capture-address',
      /no block .* free in 198\.18/,
    ],
    [STEP.address, ERRNO.EACCES, '2001:2::/64 disabled', 'capture-address', /IPv6 is disabled/],
    [STEP.address, ERRNO.EACCES, '198.18.0.0/24', 'capture-address', /got no address \(EACCES/],
    [STEP.linkUp, ERRNO.EINVAL, 'tun0', 'capture-failed', /brought up/],
    [
      STEP.route,
      ERRNO.EBUSY,
      '10.0.0.0/8 tun3',
      'already-running',
      /another tunnel captures 10\.0\.0\.0\/8 on tun3/,
    ],
    [
      STEP.route,
      ERRNO.EEXIST,
      '192.168.1.0/24 eth0',
      'capture-route-exists',
      /192\.168\.1\.0\/24 is routed to eth0/,
    ],
    [STEP.route, ERRNO.EINVAL, '10.0.0.0/8 why', 'capture-failed', /EINVAL, 10\.0\.0\.0\/8 why/],
    [STEP.request, ERRNO.EPROTO, 'wrong length', 'capture-failed', /refused a request/],
    [
      STEP.lost,
      ERRNO.ENETDOWN,
      'tun0 was set down',
      'capture-device-lost',
      /^the capture was taken away: tun0 was set down$/,
    ],
    [
      STEP.permit,
      ERRNO.EPERM,
      '0.0.0.0/1 wide',
      'capture-not-permitted',
      /0\.0\.0\.0\/1 of the targets: a prefix shorter than \/8/,
    ],
    [
      STEP.permit,
      ERRNO.EPERM,
      '10.1.0.0/16 connected 10.0.0.0/8 eth0',
      'capture-not-permitted',
      /may not capture 10\.1\.0\.0\/16: it is in the network 10\.0\.0\.0\/8, to which eth0 is/,
    ],
    [
      STEP.permit,
      ERRNO.ESTALE,
      '10.1.0.0/16 gateway 10.1.0.1/32 ',
      'capture-not-permitted',
      /may be captured no longer: 10\.1\.0\.1\/32 is the gateway/,
    ],
    [STEP.permit, ERRNO.EOVERFLOW, '', 'capture-not-permitted', /can't be told.*too many/],
    [STEP.rules, ERRNO.EINVAL, 'line 3: no', 'helper-rules', /helper\.conf .*: line 3: no$/],
    [STEP.privileges, ERRNO.EPERM, 'RLIMIT_CPU', 'capture-failed', /limited .*RLIMIT_CPU/],
    [99, 12345, '', 'capture-failed', /refused a request/],
  ] as const) {
    it(`step ${step}, errno ${errno}: ${code}`, () => {
      const error = failedError({ type: 'failed', step, errno, detail });
      assert.equal(error.code, code);
      assert.match(error.message, message);
      assert.ok(error.hint !== undefined && error.hint !== '');
    });
  }

  it('has the line for helper.conf that would permit it', () => {
    const hint = (detail: string) =>
      notPermitted({ errno: ERRNO.EPERM, detail }, 'alice').hint ?? '';
    const line = (detail: string) => /"(permit [^"]*)"/.exec(hint(detail))?.[1];
    assert.equal(line('128.0.0.0/1 wide'), 'permit alice default 0.0.0.0/0');
    assert.match(hint('128.0.0.0/1 wide'), /root and the groups sudo, wheel, admin may$/);
    assert.equal(line('8000::/1 wide'), 'permit alice default ::/0');
    assert.equal(line('2600::/16 much'), 'permit alice default ::/0');
    assert.equal(line('10.0.0.0/8 unlisted'), 'permit alice default 10.0.0.0/8');
    assert.equal(
      line('10.0.0.0/24 connected 10.0.0.0/16 eth0'),
      'permit alice default 10.0.0.0/16 local',
    );
    const special = '169.0.0.0/8 special 169.254.0.0/16 link-local';
    assert.equal(line(special), 'permit alice default 169.254.0.0/16');
    assert.match(hint(special), /^leave it out with "-x 169\.254\.0\.0\/16"; or /);
  });

  it('may come at any time, and end the session', () => {
    const ends = (step: number, errno: number) =>
      endsSession({ type: 'failed', step, errno, detail: '' });
    assert.equal(ends(STEP.lost, ERRNO.ENODEV), true);
    assert.equal(ends(STEP.permit, ERRNO.ESTALE), true);
    assert.equal(ends(STEP.permit, ERRNO.EPERM), false);
    assert.equal(ends(STEP.route, ERRNO.ESTALE), false);
  });

  it('is another for the resolver of this machine than for a target', () => {
    const of = (detail: string) =>
      failedError({ type: 'failed', step: STEP.route, errno: ERRNO.EBUSY, detail }, () => [
        '192.0.2.53',
        '2001:db8::53',
      ]);
    for (const prefix of ['192.0.2.53/32', '2001:db8::53/128']) {
      const { code, message, hint } = of(`${prefix} tun3`);
      assert.equal(code, 'already-running');
      assert.ok(message.includes(`this machine's resolver, ${prefix} on tun3`), message);
      // Without its resolver this tunnel has no names.
      assert.match(
        hint ?? '',
        /start the other tunnel with "-x 192|start the other tunnel with "-x 2001/,
      );
    }
    assert.match(of('192.0.2.0/24 tun3').hint ?? '', /-x 192\.0\.2\.0\/24/);
  });
});
