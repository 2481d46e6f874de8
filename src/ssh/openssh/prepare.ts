/**
 * What ssh is started with: its arguments, and the files that they name, in its private directory.
 */
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { UsageError } from '../../errors/errors.ts';
import { GUARD_PATH, HOSTPIN_PATH } from '../../native/addon.ts';
import { bytesRead } from '../../system/process.ts';
import type { PrivateDirectory } from '../privatedirectory.ts';
import type { SshSettings } from '../settings.ts';
import {
  hopConfiguration,
  type OpensshVersion,
  opensshArguments,
  pinnedKnownHosts,
} from './arguments.ts';
import { departuresTo } from './bounddial.ts';
import type { OpensshOptions } from './options.ts';

type Prepared = Pick<OpensshOptions, 'settings' | 'given' | 'replicas' | 'addresses' | 'deviceFor'>;

/** The arguments of ssh; the files that they name are written. Throws UsageError. */
export function prepare(
  { settings: wanted, given, replicas, addresses = [], deviceFor }: Prepared,
  version: OpensshVersion,
  directory: PrivateDirectory,
): [string, ...string[]] {
  const departures = departuresTo(addresses, deviceFor);
  const replica = replicas?.first?.fingerprint;
  const settings = pinnedTo(replica, wanted);
  const argv = opensshArguments({
    settings,
    given,
    files: directory,
    hostpin: HOSTPIN_PATH,
    guard: GUARD_PATH,
    version,
    replica,
    givesUp: !seesWhatIsRead(),
    departures,
  });
  if (settings.hostKeys.pins.length > 0)
    writeFileSync(directory.knownHosts, pinnedKnownHosts(settings) + revokedLines(settings), {
      mode: 0o600,
    });
  if (settings.proxy.kind === 'jump') {
    if (given.configFile !== undefined && given.configFile !== 'none')
      mustBeReadable(given.configFile);
    writeFileSync(directory.hopConfiguration, hopConfiguration(settings, given, departures), {
      mode: 0o600,
    });
  }
  return argv;
}

/**
 * Whether this kernel counts what processes read; without that, ssh judges the server's silence.
 */
export function seesWhatIsRead(): boolean {
  return bytesRead('self') !== undefined;
}

/**
 * If the jump host has presented one of the pinned keys at another address, keeps only that pin.
 */
function pinnedTo(replica: string | undefined, settings: SshSettings): SshSettings {
  const { hostKeys } = settings;
  const pins = hostKeys.pins.filter(({ fingerprint }) => fingerprint === replica);
  return pins.length === 0 ? settings : { ...settings, hostKeys: { ...hostKeys, pins } };
}

/** A key that known_hosts marks as revoked is refused even if pinned (ssh/hostkeys/verifier.ts). */
function revokedLines({ hostKeys }: SshSettings): string {
  const lines = [...hostKeys.userFiles, ...hostKeys.globalFiles].flatMap((path) => {
    try {
      return readFileSync(path, 'utf8').split('\n');
    } catch {
      return []; // ssh skips files that it can't read, too
    }
  });
  return lines
    .filter((line) => /^\s*@revoked\s/.test(line))
    .map((line) => `${line}\n`)
    .join('');
}

/** ssh silently skips an included file that is missing. Type and size are left to ssh to check. */
function mustBeReadable(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (cause) {
    throw new UsageError(`-F ${path} can't be read`, { hint: 'check the path', cause });
  }
}
