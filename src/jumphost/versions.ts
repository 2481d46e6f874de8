/**
 * What each version of OpenSSH's sshd knows, as far as the rendered files need it. From the release
 * notes (openssh.com/releasenotes.html) and sshd_config(5) of the versions.
 */
import { UsageError } from '../errors/errors.ts';
import { NotationError, quoted } from '../net/notation.ts';

/** [9, 2] for OpenSSH 9.2. */
export type SshdVersion = readonly [major: number, minor: number];

/** Debian 12's. What is rendered without --openssh works from there on. */
export const DEFAULT_SSHD: SshdVersion = [9, 2];
/** Ubuntu 20.04's: older ones lack what a forward-only host is made of, or get no updates. */
export const OLDEST_SSHD: SshdVersion = [8, 2];
export const NEWEST_SSHD: SshdVersion = [10, 2];

/** The first version that has a keyword, an algorithm or a behaviour. */
export const SINCE = {
  /** A Match in an included file; before, it never matches (OpenSSH's bug 3122). */
  matchInInclude: [8, 4],
  perSourceMaxStartups: [8, 5],
  sntrup: [8, 5],
  /** KbdInteractiveAuthentication for some users only; before, a global keyword overrules it. */
  kbdInteractiveInMatch: [8, 7],
  /** No RSA signatures with SHA-1 unless they are asked for. */
  sha1Refused: [8, 8],
  requiredRsaSize: [9, 1],
  unusedConnectionTimeout: [9, 2],
  /** They are on unless they are switched off. */
  perSourcePenalties: [9, 8],
  /** mlkem768x25519-sha256, and sntrup761x25519-sha512 without a domain. */
  mlkem: [9, 9],
  /** PerSourceMaxStartups without its fault of 9.8 to 10.0. */
  perSourceForgotten: [10, 1],
} as const satisfies Record<string, SshdVersion>;

export function knows(version: SshdVersion, what: keyof typeof SINCE): boolean {
  return !isOlder(version, SINCE[what]);
}

export function isOlder([major, minor]: SshdVersion, than: SshdVersion): boolean {
  return major < than[0] || (major === than[0] && minor < than[1]);
}

/**
 * Reads `9.2`, `9.2p1`, or what `ssh -V` prints (`OpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL ...`).
 * Throws NotationError, or UsageError for one that is too old or not known.
 */
export function parseSshdVersion(text: string): SshdVersion {
  const [, major = '', minor = ''] =
    /^(?:OpenSSH_)?([0-9]{1,2})\.([0-9]{1,2})(?:p[0-9]+)?(?:[ ,].*)?$/.exec(text) ?? [];
  if (major === '')
    throw new NotationError(
      `${quoted(text)} is not a version of OpenSSH`,
      'write it as in: --openssh 9.2; "ssh -V" on the jump host prints it',
    );
  const version: SshdVersion = [Number(major), Number(minor)];
  if (isOlder(version, OLDEST_SSHD)) {
    throw new UsageError(
      `OpenSSH ${formatSshdVersion(version)} is older than ${formatSshdVersion(OLDEST_SSHD)}, the oldest that is rendered for`,
      {
        hint: 'upgrade the jump host first: a host that is open to the network needs updates',
      },
    );
  }
  if (isOlder(NEWEST_SSHD, version)) {
    const newest = formatSshdVersion(NEWEST_SSHD);
    throw new UsageError(
      `OpenSSH ${formatSshdVersion(version)} is not known here: the newest is ${newest}`,
      {
        hint: `write --openssh ${newest}: newer servers take what it renders`,
      },
    );
  }
  return version;
}

export function formatSshdVersion([major, minor]: SshdVersion): string {
  return `${major}.${minor}`;
}
