/**
 * The messages between program and launcher: both sides' layouts, and what their failures become.
 */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { launcherError, namespaceRestriction } from '../../../../src/system/launcher/errors.ts';
import {
  decodeLauncherMessage,
  encodeGo,
  encodeSetup,
  encodeSetupInPlace,
  LAUNCHER_LAYOUT,
  LAUNCHER_MAGIC,
  LAUNCHER_MAX_RESOLV_CONF,
  LAUNCHER_MAX_VARIABLES,
  LAUNCHER_MESSAGE,
  LAUNCHER_STEP,
  LAUNCHER_VERSION,
} from '../../../../src/system/launcher/protocol.ts';
import { printedByC } from '../../../support/cstructs.ts';

const { errno: ERRNO } = constants;

/** Prints the header's constants and layouts as JSON, and messages of the launcher's in hex. */
const BODY = `
  struct launcher_descriptor descriptor = {.header = HEADER(LAUNCHER_DESCRIPTOR, descriptor)};
  struct launcher_ready ready = {.header = HEADER(LAUNCHER_READY, ready), .notes = LAUNCHER_NO_RESOLV_CONF, .device = "tun0",
                                 .uid = 1000, .gid = 100};
  struct launcher_ready ready6 = {.header = HEADER(LAUNCHER_READY, ready6), .notes = LAUNCHER_HAS_IPV6};
  struct launcher_setup place = {.header = HEADER(LAUNCHER_SETUP, place), .flags = LAUNCHER_IN_PLACE, .descriptors = 256};
  struct { struct launcher_go go; char text[9]; } __attribute__((packed)) go = {.go = {HEADER(LAUNCHER_GO, go)}, .text = "A=b\\0C=\\0D"};
  struct launcher_failed failed = {.header = HEADER(LAUNCHER_FAILED, failed), .step = LAUNCHER_STEP_MOUNT, .error = 13,
                                   .detail = "/etc"};
  struct { struct launcher_setup setup; char text[3]; } __attribute__((packed)) setup = {
      .setup = {.header = HEADER(LAUNCHER_SETUP, setup), .flags = LAUNCHER_ISOLATE | LAUNCHER_VERBATIM, .mtu = 1500,
                .address4 = {198, 18, 0, 1}, .address6 = {0x20, 1, 0, 2, [15] = 1}, .descriptors = 1024,
                .resolv_conf_length = 3}, .text = "abc"};
  SIZE(header); AT(header, magic, "magic"); AT(header, version, "version"); AT(header, type, "type");
  AT(header, length, "length");
  SIZE(setup); AT(setup, flags, "flags"); AT(setup, mtu, "mtu"); AT(setup, address4, "address4");
  AT(setup, address6, "address6"); AT(setup, descriptors, "descriptors");
  AT(setup, resolv_conf_length, "resolvConfLength");
  SIZE(descriptor);
  SIZE(ready); AT(ready, notes, "notes"); AT(ready, device, "device"); AT(ready, uid, "uid"); AT(ready, gid, "gid");
  SIZE(go);
  SIZE(failed); AT(failed, step, "step"); AT(failed, error, "error"); AT(failed, detail, "detail");
  VALUE(LAUNCHER_MAGIC); VALUE(LAUNCHER_VERSION); VALUE(LAUNCHER_MAX_RESOLV_CONF); VALUE(LAUNCHER_MAX_VARIABLES);
  VALUE(LAUNCHER_SETUP); VALUE(LAUNCHER_DESCRIPTOR); VALUE(LAUNCHER_READY); VALUE(LAUNCHER_GO); VALUE(LAUNCHER_FAILED);
  VALUE(LAUNCHER_STEP_REQUEST); VALUE(LAUNCHER_STEP_NAMESPACES); VALUE(LAUNCHER_STEP_MAPPING);
  VALUE(LAUNCHER_STEP_OPEN_TUN); VALUE(LAUNCHER_STEP_CREATE_TUN); VALUE(LAUNCHER_STEP_NETWORK);
  VALUE(LAUNCHER_STEP_MOUNT); VALUE(LAUNCHER_STEP_PRIVILEGES);
  VALUE(LAUNCHER_STEP_EXECUTE);
  HEX("descriptorMessage", descriptor); HEX("readyMessage", ready); HEX("ready6Message", ready6); HEX("failedMessage", failed); HEX("setupMessage", setup);
  HEX("placeMessage", place); HEX("goMessage", go);
`;

describe('launcher protocol', () => {
  const c = printedByC('launcher/protocol.h', 'launcher', BODY);
  const bytes = (name: string) => Uint8Array.from(Buffer.from(String(c[name]), 'hex'));
  const constantOf = (name: string) =>
    name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();

  it('has the layout of the C structs', () => {
    for (const [struct, fields] of Object.entries(LAUNCHER_LAYOUT)) {
      for (const [field, at] of Object.entries(fields))
        assert.equal(at, c[`${struct}.${field}`], `${struct}.${field}`);
    }
  });

  it('has the constants of the C header', () => {
    assert.equal(LAUNCHER_MAGIC, c['LAUNCHER_MAGIC']);
    assert.equal(LAUNCHER_VERSION, c['LAUNCHER_VERSION']);
    assert.equal(LAUNCHER_MAX_RESOLV_CONF, c['LAUNCHER_MAX_RESOLV_CONF']);
    assert.equal(LAUNCHER_MAX_VARIABLES, c['LAUNCHER_MAX_VARIABLES']);
    for (const [name, value] of Object.entries(LAUNCHER_MESSAGE))
      assert.equal(value, c[`LAUNCHER_${constantOf(name)}`], name);
    for (const [name, value] of Object.entries(LAUNCHER_STEP))
      assert.equal(value, c[`LAUNCHER_STEP_${constantOf(name)}`], name);
  });

  it('reads what C writes, and writes what C reads', () => {
    assert.deepEqual(decodeLauncherMessage(bytes('descriptorMessage')), { type: 'descriptor' });
    assert.deepEqual(decodeLauncherMessage(bytes('readyMessage')), {
      type: 'ready',
      device: 'tun0',
      hasResolvConf: false,
      hasIPv6: false,
      user: { uid: 1000, gid: 100 },
    });
    assert.deepEqual(decodeLauncherMessage(bytes('ready6Message')), {
      type: 'ready',
      device: '',
      hasResolvConf: true,
      hasIPv6: true,
      user: { uid: 0, gid: 0 },
    });
    assert.deepEqual(decodeLauncherMessage(bytes('failedMessage')), {
      type: 'failed',
      step: LAUNCHER_STEP.mount,
      errno: 13,
      detail: '/etc',
    });
    const setup = {
      isolate: true,
      verbatim: true,
      mtu: 1500,
      address4: '198.18.0.1',
      address6: '2001:2::1',
      descriptors: 1024,
      resolvConf: 'abc',
    };
    assert.deepEqual(encodeSetup(setup), bytes('setupMessage'));
    assert.throws(() => encodeSetup({ ...setup, resolvConf: 'x'.repeat(8193) }), RangeError);
    assert.deepEqual(encodeSetupInPlace({ descriptors: 256 }), bytes('placeMessage'));
    assert.deepEqual(encodeGo({ A: 'b', C: '', D: undefined }), bytes('goMessage'));
    assert.throws(() => encodeGo({ A: 'x'.repeat(65_536) }), RangeError);
    assert.throws(() => encodeGo({ 'A=B': 'x' }), RangeError);
    assert.throws(() => encodeGo({ A: 'x\0B=y' }), RangeError);
  });

  it('takes nothing for a message that is none', () => {
    const messages = ['descriptorMessage', 'readyMessage', 'failedMessage'].map(bytes);
    for (const message of messages) {
      for (let length = 0; length < message.length; length++)
        assert.equal(decodeLauncherMessage(message.subarray(0, length)), undefined);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        assert.equal(decodeLauncherMessage(noise), undefined);
      }),
    );
  });
});

describe('launcher errors', () => {
  for (const [step, errno, code] of [
    [LAUNCHER_STEP.namespaces, ERRNO.EPERM, 'namespace-refused'],
    [LAUNCHER_STEP.mapping, ERRNO.EPERM, 'namespace-refused'],
    [LAUNCHER_STEP.mount, ERRNO.EACCES, 'namespace-refused'],
    [LAUNCHER_STEP.openTun, ERRNO.ENOENT, 'namespace-no-tun'],
    [LAUNCHER_STEP.openTun, ERRNO.EACCES, 'namespace-no-tun'],
    [LAUNCHER_STEP.createTun, ERRNO.EPERM, 'namespace-no-tun'],
    [LAUNCHER_STEP.network, ERRNO.EINVAL, 'namespace-network'],
    [LAUNCHER_STEP.privileges, ERRNO.EPERM, 'launcher-privileges'],
    [LAUNCHER_STEP.execute, ERRNO.ENOENT, 'command-not-found'],
    [LAUNCHER_STEP.execute, ERRNO.EACCES, 'command-not-executable'],
    [LAUNCHER_STEP.execute, ERRNO.E2BIG, 'command-not-executable'],
    [99, ERRNO.EIO, 'launcher-failed'],
  ] as const) {
    it(`of step ${step} with ${errno} is ${code}`, () => {
      const error = launcherError({ type: 'failed', step, errno, detail: 'what' });
      assert.equal(error.code, code);
      assert.ok(error.hint !== undefined && error.hint !== '');
    });
  }

  it('explain a refusal by the setting that is behind it, and never begin with lifting it for all', () => {
    const settings = (parameter: string, value: string) => (name: string) =>
      name === parameter ? value : undefined;
    const apparmor = namespaceRestriction(
      settings('kernel.apparmor_restrict_unprivileged_userns', '1'),
    );
    assert.match(
      apparmor?.hint ?? '',
      /^allow them for this program alone.*docs\/apparmor\/tunnel-exec/,
    );
    assert.doesNotMatch(apparmor?.hint ?? '', /sysctl/);
    assert.match(
      namespaceRestriction(settings('kernel.unprivileged_userns_clone', '0'))?.hint ?? '',
      /kernel\.unprivileged_userns_clone=1/,
    );
    assert.match(
      namespaceRestriction(settings('user.max_user_namespaces', '0'))?.hint ?? '',
      /user\.max_user_namespaces=/,
    );
    assert.equal(namespaceRestriction(settings('user.max_user_namespaces', '96365')), undefined);
    assert.equal(
      namespaceRestriction(() => undefined),
      undefined,
    );
  });
});
