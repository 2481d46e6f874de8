/** One row of the suite: what a hostile jump server does, and what is to come of it. */
import type { HostilePeer, HostKey } from './peer.ts';

/** What the program must do in answer. */
export type Outcome =
  /** The first connection fails: the program ends. */
  | {
      readonly kind: 'start fails';
      readonly code: string;
      readonly status: number;
      /** What its one line says, without the code. */
      readonly says?: RegExp;
    }
  /** The link is given up, and dialled again. */
  | { readonly kind: 'link is lost'; readonly says: RegExp }
  /** The link is given up, and the next one is refused for good: the program ends. */
  | { readonly kind: 'program ends'; readonly code: string; readonly status: number }
  /** The link stays. `flow`: what becomes of the connection to FAULT_HOST. */
  | { readonly kind: 'link stands'; readonly flow: FlowEnd };

/**
 * `works`: it echoes. `refused`: by SOCKS. `ends`: it opens, and its end or reset comes. `waits`:
 * it is open, and nothing comes. `unanswered`: it doesn't open, and isn't refused.
 */
export type FlowEnd = 'works' | 'refused' | 'ends' | 'waits' | 'unanswered';

export interface Row {
  /** Short: `window overflow`. It selects the row. */
  readonly name: string;
  /** What the server does, for the table. */
  readonly does: string;
  /**
   * Is called for each connection of the program. `attempt`: 0 for the first. A row whose link is
   * lost must serve well on the next one.
   */
  readonly attack: (peer: HostilePeer, attempt: number) => Promise<void>;
  readonly outcome: Outcome;
  /** What the user is told, for the table. */
  readonly told: string;
  /** A counter that has grown at the end, with the limit or the rule that it stands for. */
  readonly counter?: string;
  readonly arguments?: readonly string[];
  /** Default: the embedded client. */
  readonly transport?: 'ssh2' | 'openssh';
  /** MiB beyond a run without a fault. Default: MEMORY_MIB. */
  readonly memory?: number;
  /** Seconds of processor time beyond a run without a fault. Default: CPU_SECONDS. */
  readonly cpu?: number;
  /** Seconds until the outcome. Default: PATIENCE_SECONDS. */
  readonly patience?: number;
  /** What the application sends on the connection to FAULT_HOST, in bytes. Default: little. */
  readonly upload?: number;
  /** How long the application reads nothing at first, in ms. Default: 0. */
  readonly stalls?: number;
  /** The server's, which the client expects. Default: a new one. */
  readonly hostKey?: HostKey;
  /** The client offers this key (a file); made by the suite. */
  readonly withKey?: boolean;
  /** The server itself ends the connection beside it. */
  readonly harmsOthers?: boolean;
  /** Why it is expected to fail for now. */
  readonly todo?: string;
}

export const MEMORY_MIB = 48;
export const CPU_SECONDS = 1.5;
export const PATIENCE_SECONDS = 8;
