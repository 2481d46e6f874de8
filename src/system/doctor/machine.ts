/**
 * doctor's checks of what captures need from this machine: the TUN's device node, root for the
 * helper, namespaces, the kernel.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { nativeHint } from '../../native/files.ts';
import { silentObserver } from '../../observe/observer.ts';
import { NO_TUN_HINT } from '../launcher/errors.ts';
import { probeNamespaces } from '../launcher/launcher.ts';
import type { LauncherSetup } from '../launcher/protocol.ts';
import { helperPath } from '../programs/path.ts';
import { elevation } from '../programs/privileges.ts';
import { type Finding, failure } from './diagnosis.ts';

const TUN_NODE = '/dev/net/tun';
const CAP_NET_ADMIN = 12n;
/** For sudo to check its rules, in ms. */
const SUDO_TIMEOUT_MS = 5_000;
/**
 * From this version a direct dial can be bound to a device without privileges (SO_BINDTODEVICE).
 */
const KERNEL_FOR_BINDING = [5, 7] as const;

export function lookAtTunDevice(): Finding {
  const name = 'tun-device';
  const status = statSync(TUN_NODE, { throwIfNoEntry: false });
  if (status?.isCharacterDevice() !== true) {
    return { name, state: 'failed', detail: `there is no ${TUN_NODE}`, hint: NO_TUN_HINT };
  }
  try {
    accessSync(TUN_NODE, constants.R_OK | constants.W_OK);
  } catch {
    return {
      name,
      state: 'warning',
      detail: `only root may open ${TUN_NODE}: enough for connect, not for exec`,
      hint: `let users open it, which most distributions do by themselves: sudo chmod 666 ${TUN_NODE}`,
    };
  }
  return { name, state: 'ok', detail: `${TUN_NODE} can be opened` };
}

/**
 * Whether the helper can be started as root. Asks sudo for its rules, but runs nothing. `isRooted`:
 * a part of this program is root, and would start it.
 */
export function lookAtHelper(isRooted = false): Finding {
  const name = 'helper';
  const path = helperPath(silentObserver);
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) {
    return {
      name,
      state: 'failed',
      detail: `there is no helper at ${path}`,
      hint: nativeHint(),
    };
  }
  if (isRooted)
    return { name, state: 'ok', detail: 'the part of this program that stays root can start it' };
  let via: string;
  try {
    via = elevation(path, []).via;
  } catch (error) {
    return failure(name, error);
  }
  if (via === 'root') {
    return hasNetAdmin()
      ? { name, state: 'ok', detail: 'this is root' }
      : {
          name,
          state: 'failed',
          detail: 'this is root, but without CAP_NET_ADMIN',
          hint: 'in a container, start it with --cap-add NET_ADMIN',
        };
  }
  if (via === 'doas')
    return { name, state: 'note', detail: 'doas can start it, if its configuration permits that' };
  const { status } = spawnSync('sudo', ['-n', '-l', '--', path], {
    stdio: 'ignore',
    timeout: SUDO_TIMEOUT_MS,
  });
  return status === 0
    ? { name, state: 'ok', detail: `sudo can start ${path}` }
    : {
        name,
        state: 'note',
        detail: 'sudo can start it, if its rules permit that; it would ask for a password',
      };
}

function hasNetAdmin(): boolean {
  const [, mask = '0'] =
    /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1')) ?? [];
  return ((BigInt(`0x${mask}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}

/** Tries to make a namespace with everything that `tunnel exec` needs. */
export async function lookAtNamespaces(setup: LauncherSetup): Promise<Finding> {
  const name = 'namespaces';
  try {
    const { ipv6 } = await probeNamespaces(setup);
    const without = ipv6 ? '' : ', without IPv6';
    return { name, state: 'ok', detail: `a network for one command can be made${without} (tried)` };
  } catch (error) {
    return failure(name, error);
  }
}

export function lookAtKernel(version = release()): Finding {
  const name = 'kernel';
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  const [needMajor, needMinor] = KERNEL_FOR_BINDING;
  if (major > needMajor || (major === needMajor && minor >= needMinor)) {
    return { name, state: 'ok', detail: `Linux ${version}` };
  }
  return {
    name,
    state: 'warning',
    detail: `Linux ${version}: with connect, ports that are excluded from a target can't be reached directly`,
    hint: `use Linux ${needMajor}.${needMinor} or later, or exclude whole addresses`,
  };
}
