/** What is known when a start of the system's ssh has failed, and what is said about it. */
import type { ErrorCode } from '../../errors/codes.ts';
import type { Phase } from './log.ts';
import type { Exit } from './process.ts';

export interface StartFailure {
  /** `host:port` */
  readonly at: string;
  /** The time limit for connecting. */
  readonly seconds: number;
  /** The log without debug lines. */
  readonly lines: readonly string[];
  readonly stderr: readonly string[];
  readonly exit: Exit;
  readonly phase: Phase;
  /** The server's machine has accepted the connection. */
  readonly accepted: boolean;
  /** `ssh-ed25519 SHA256:...`, if the server has presented it. */
  readonly hostKey: string | undefined;
  /** All keys that ssh has offered. */
  readonly offered: readonly string[];
  /** The last one of these, if the server would accept it, and ssh has not signed with it. */
  readonly unusedKey: string | undefined;
  /** The methods that the server has refused since it last accepted a part of the login. */
  readonly refused: readonly string[];
  /** The keys that the server accepted when they were offered, and refused when ssh signed. */
  readonly refusedSignatures: readonly string[];
  /** The command is the user's own (-e). */
  readonly custom: boolean;
  /** ssh could ask nobody (BatchMode). */
  readonly unasked: boolean;
  /** ssh is connected through a ProxyCommand. */
  readonly byCommand: boolean;
  /** ssh reaches the jump host through other hosts (ProxyJump), with a separate ssh for each. */
  readonly throughHops: boolean;
  /** The text, if any, that the port sent instead of an SSH identification. */
  readonly greeting: string | undefined;
  readonly pins: readonly string[];
  /** What is wrong with the certificates that were offered, one sentence each. */
  readonly certificates: readonly string[];
  /**
   * Absolute paths of the private keys that the settings name or imply. No hint contains a command
   * for any other path, since a server may have forged it in ssh's log (log.ts).
   */
  readonly keyFiles: ReadonlySet<string>;
}

export interface Diagnosis {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string | undefined;
}
