/** Turns what the helper, sudo and doas report into errors with hints. */
import { constants } from 'node:os';
import { isAbsolute } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { TunnelError } from '../../errors/errors.ts';
import { HELPER_PATH } from '../../native/addon.ts';
import { nativeHint } from '../../native/files.ts';
import { INSTALLED_HELPERS, installCommand, replaceableAt } from '../programs/path.ts';
import type { Elevation } from '../programs/privileges.ts';
import { configuredResolvers } from '../resolver/resolvconf.ts';
import { notPermitted, rulesError } from './permission.ts';
import {
  type FailedMessage,
  HELPER_EXIT_NOT_ROOT,
  HELPER_EXIT_SETUP,
  HELPER_VERSION,
  STEP,
} from './protocol.ts';

const { errno: ERRNO } = constants;

/** `EEXIST` for 17. */
export function systemErrorName(errno: number): string {
  return errno > 0 ? getSystemErrorName(-errno) : `error ${errno}`;
}

export function lostError(why: string): TunnelError {
  return new TunnelError('helper-lost', `the privileged helper is gone: ${why}`, {
    hint: 'start tunnel again; its device and routes go away with it',
  });
}

export function protocolError(what: string): TunnelError {
  return new TunnelError(
    'helper-lost',
    `the privileged helper does not follow the protocol: ${what}`,
    {
      hint: 'program and helper must be of the same version: build both again',
    },
  );
}

/** The helper at `path` is of another version than this program. */
export function versionError(path: string, version: number): TunnelError {
  return new TunnelError(
    'helper-version',
    `the helper ${path} speaks version ${version} of the protocol, this program version ${HELPER_VERSION}`,
    {
      hint: path === HELPER_PATH ? nativeHint() : updateHint(path),
    },
  );
}

/** `path` may also be how the unit is called that has started it (helper.ts). */
function updateHint(path: string): string {
  const [, packaged] = INSTALLED_HELPERS;
  if (!isAbsolute(path))
    return 'program and helper must be of one version: "systemctl cat tunnel-helper@.service" shows which helper the unit starts';
  return path === packaged
    ? 'program and helper must be of one version: upgrade the package that has the helper, or use its /usr/bin/tunnel'
    : `update it as root: "${installCommand(HELPER_PATH, path)}"`;
}

/**
 * `status`: an exit status or a signal's name. `stderr`: what was printed there, if it wasn't the
 * terminal.
 */
export function refusedStart(
  elevated: Pick<Elevation, 'via' | 'command' | 'args'>,
  status: number | string,
  stderr: string,
): TunnelError {
  const { via, command, args } = elevated;
  const line = printable(stderr.trim().split('\n').at(-1) ?? '');
  const because = line === '' ? '' : `: ${line}`;
  if (status === HELPER_EXIT_NOT_ROOT) {
    return new TunnelError(
      'capture-privileges',
      `${via} did not run the helper as root${because}`,
      {
        hint: `see the configuration of ${via}`,
      },
    );
  }
  if (via === 'root' || status === HELPER_EXIT_SETUP) {
    return new TunnelError('capture-failed', `the helper could not start (${status})${because}`, {
      hint: 'its message says why; the directory for temporary files must be a plain local one',
    });
  }
  const helper = args.at(-2) ?? command;
  const permit =
    replaceableAt(helper) === undefined
      ? `permit ${helper} in the configuration of ${via}`
      : `make a copy that only root can replace, "${installCommand(helper)}", and permit ${INSTALLED_HELPERS[0]} in the configuration of ${via}`;
  return new TunnelError('capture-privileges', `${via} did not start the helper${because}`, {
    hint: `start it at a terminal, where ${via} can ask for a password; "tunnel exec" and "tunnel proxy" need no root. To be asked for none, as root, ${permit}`,
  });
}

/** A FAILED message. `resolversOf`: this machine's resolvers. */
export function failedError(failed: FailedMessage, resolversOf = configuredResolvers): TunnelError {
  switch (failed.step) {
    case STEP.privileges:
      if (failed.detail.startsWith('RLIMIT_'))
        return other('the helper is limited', failed, LIMITS);
      return new TunnelError(
        'capture-privileges',
        `root has too few privileges here (${reason(failed)})`,
        {
          hint: 'in a container, start it with --cap-add NET_ADMIN',
        },
      );
    case STEP.openTun:
      return noTun(failed);
    case STEP.createTun:
      return failed.errno === ERRNO.EPERM || failed.errno === ERRNO.EACCES
        ? new TunnelError(
            'capture-privileges',
            `a TUN device may not be made here (${reason(failed)})`,
            {
              hint: 'in a container, start it with --cap-add NET_ADMIN --device /dev/net/tun',
            },
          )
        : other('a TUN device could not be made', failed);
    case STEP.address:
      return address(failed);
    case STEP.linkUp:
      return other('the TUN device could not be brought up', failed);
    case STEP.route:
      return route(failed, resolversOf);
    case STEP.lost:
      return new TunnelError(
        'capture-device-lost',
        `the capture was taken away: ${failed.detail}`,
        {
          hint: 'another program or administrator changes network settings: exclude the device tun* there (systemd-networkd: ManageForeignRoutes=no and ManageForeignRoutingPolicyRules=no, NetworkManager: unmanaged-devices), and start tunnel again',
        },
      );
    case STEP.permit:
      return notPermitted(failed);
    case STEP.rules:
      return rulesError(failed);
    default:
      return other('the helper refused a request', failed);
  }
}

/** Of sudo's refusal, or its absence, where the unit's socket is another way. */
export function withGroupAdvice(error: unknown): unknown {
  if (!(error instanceof TunnelError) || error.code !== 'capture-privileges') return error;
  const group = 'become a member of the group "tunnel", which needs no sudo, and log in again';
  return new TunnelError(error.code, error.message, {
    hint: error.hint === undefined ? group : `${error.hint}; or ${group}`,
    cause: error,
  });
}

/** Whether it may come at any time, and is the last message. */
export function endsSession({ step, errno }: FailedMessage): boolean {
  return step === STEP.lost || (step === STEP.permit && errno === ERRNO.ESTALE);
}

function noTun(failed: FailedMessage): TunnelError {
  switch (failed.errno) {
    case ERRNO.ENOENT:
      return new TunnelError('capture-no-tun', 'there is no /dev/net/tun', {
        hint: 'in a container, start it with --device /dev/net/tun, or "mkdir -p /dev/net; mknod /dev/net/tun c 10 200"; elsewhere "modprobe tun"',
      });
    case ERRNO.ENODEV:
      return new TunnelError('capture-no-tun', 'the kernel has no TUN driver', {
        hint: 'load it with "modprobe tun" (on the host, if this is a container)',
      });
    default:
      return new TunnelError(
        'capture-no-tun',
        `/dev/net/tun can't be opened (${systemErrorName(failed.errno)})`,
        { hint: 'in a container, start it with --device /dev/net/tun' },
      );
  }
}

function address(failed: FailedMessage): TunnelError {
  if (failed.errno === ERRNO.EADDRNOTAVAIL) {
    return new TunnelError('capture-address', `no block of addresses is free in ${failed.detail}`, {
      hint: 'see "ip route show table all" for what uses them',
    });
  }
  const ipv6 = failed.detail.split('/', 1)[0]?.includes(':') === true;
  const disabled: readonly number[] = [ERRNO.EACCES, ERRNO.EAFNOSUPPORT, ERRNO.EOPNOTSUPP];
  if (ipv6 && disabled.includes(failed.errno)) {
    return new TunnelError(
      'capture-address',
      `IPv6 is disabled on this machine (${reason(failed)})`,
      {
        hint: 'leave out the IPv6 targets, or enable it: "sysctl net.ipv6.conf.default.disable_ipv6=0"',
      },
    );
  }
  return new TunnelError('capture-address', `the TUN device got no address (${reason(failed)})`, {
    hint: 'see "ip address" and "ip route show table all" for what is in the way',
  });
}

function route(failed: FailedMessage, resolversOf: () => readonly string[]): TunnelError {
  const [prefix = '', device = ''] = failed.detail.split(' ', 2);
  if (failed.errno === ERRNO.EBUSY && resolversOf().includes(prefix.replace(/\/(32|128)$/, ''))) {
    // Tunnels share it, unless one of them has it as a target, or in one, and answers no queries.
    return new TunnelError(
      'already-running',
      `another tunnel captures this machine's resolver, ${prefix} on ${device}, and answers no queries`,
      {
        hint: `start the other tunnel with "-x ${prefix}", give one tunnel the targets of both, or use "tunnel exec" for one of them`,
      },
    );
  }
  if (failed.errno === ERRNO.EBUSY) return capturedByAnother(prefix, device);
  if (failed.errno === ERRNO.EEXIST) {
    const to = device === '' ? 'elsewhere' : `to ${device}`;
    return new TunnelError(
      'capture-route-exists',
      `${prefix} is routed ${to} on this machine already`,
      {
        hint: `exclude it with "-x ${prefix}", or choose a narrower target`,
      },
    );
  }
  return other('a route could not be set', failed);
}

export function capturedByAnother(prefix: string, device: string): TunnelError {
  return new TunnelError('already-running', `another tunnel captures ${prefix} on ${device}`, {
    hint: `leave it to one of the two, with "-x ${prefix}" for the other; or stop the one that runs, which "tunnel status" shows`,
  });
}

const LIMITS = 'start tunnel where its limits are not set: "ulimit -a" shows them';

function other(
  what: string,
  failed: FailedMessage,
  hint = 'run tunnel with -v, and see what the kernel says ("dmesg")',
): TunnelError {
  return new TunnelError('capture-failed', `${what} (${reason(failed)})`, { hint });
}

function reason(failed: FailedMessage): string {
  const name = systemErrorName(failed.errno);
  return failed.detail === '' ? name : `${name}, ${failed.detail}`;
}

function printable(line: string): string {
  return line.replace(/[\x00-\x1f\x7f-\x9f]/g, '?');
}
