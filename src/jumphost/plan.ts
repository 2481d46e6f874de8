/**
 * What a jump host is to be: read from the command line, and rendered by one file for each format.
 */
import type { PermittedDestination } from './permitted.ts';
import type { SshdVersion } from './versions.ts';

/** Whoever is in it may forward, and nothing else. */
export const GROUP = 'tunnel';

/** --keys-from: an HTTP address, or a command that prints keys. */
export type KeySource =
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'command'; readonly command: string };

export interface JumpHostPlan {
  /** The login of its users. */
  readonly user: string;
  /** The port that users see. */
  readonly port: number;
  readonly version: SshdVersion;
  /** At least one. */
  readonly permitted: readonly PermittedDestination[];
  /** Public keys as one line each, `ssh-ed25519 AAAA... comment`. */
  readonly keys: readonly string[];
  /** Codes by time besides the key. */
  readonly mfa: boolean;
  /** Connections come from a proxy: all users have one address there. */
  readonly behindProxy: boolean;
  /** Where sshd asks for keys at each login; undefined: only authorized_keys has them. */
  readonly keysFrom: KeySource | undefined;
}

/** One file of a format. */
export interface RenderedFile {
  /** Below the output directory. */
  readonly path: string;
  readonly mode: number;
  readonly text: string;
}

/** Lines that are comments in most formats. */
export function comment(...lines: readonly string[]): string {
  return lines.map((line) => (line === '' ? '#' : `# ${line}`)).join('\n');
}
